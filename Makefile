# The project's commands. `make` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
STAMP := .venv/installed

export PYTHONPATH := $(CURDIR)
unexport PYTHONDONTWRITEBYTECODE # pytest keeps its rewritten asserts: making them is a third of collecting
export SQL

.PHONY: help check-date install run up down status rollback backfill airflow check new query test test-fast test-estimators test-engines test-clients test-model test-replicas coverage lab lint format lock bench-parse bench-publish picture timetable system reference clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-15s %s\n", $$1, $$2}'

check-date: # before anything is installed; after that the command itself says it, as it knows what runs
	@[ -e $(STAMP) ] || python3 -m local.days '$(DATE)'

# Done again only when the lock changes; nothing after it needs the network.
$(STAMP): requirements.lock
	@python3 local/install.py
	@$(PYTHON) -m local.requirements

install: $(STAMP) ## install everything into .venv

run: check-date $(STAMP) ## run one night through Airflow: make run DATE=2013-10-02; without: the first day with a whole history
	@$(PYTHON) -m local run --date '$(DATE)' $(if $(FORCE),--force)

up: $(STAMP) ## start Airflow, MLflow and serving, and print where they are
	@$(PYTHON) -m local up

down: $(STAMP) ## stop what up and run started
	@$(PYTHON) -m local down

status: $(STAMP) ## show what runs, and which version serves since when
	@$(PYTHON) -m local status

rollback: $(STAMP) ## put the previously served model back
	@$(PYTHON) -m local rollback $(if $(VERSION),--version '$(VERSION)')

backfill: $(STAMP) ## run a range of data days: make backfill FROM=2013-09-01 TO=2013-09-07
	@$(PYTHON) -m local backfill --first '$(FROM)' --last '$(TO)' $(if $(FORCE),--force)

airflow: $(STAMP) ## Airflow's own command line: make airflow ARGS="backfill create --help"
	@$(PYTHON) -m local airflow $(ARGS)

new: $(STAMP) ## write a use case to begin with: make new USE_CASE=yours TASK=regression (or binary, multiclass)
	@$(PYTHON) -m include.scaffold --use-case '$(USE_CASE)' --task '$(or $(TASK),binary)'

check: $(STAMP) ## find mistakes in a use case, and features that know the future: make check USE_CASE=… VERBOSE=1
	@$(PYTHON) -m local check $(if $(USE_CASE),--use-case '$(USE_CASE)') $(if $(VERBOSE),--verbose)

query: $(STAMP) ## ask the lake in SQL: make query SQL='SELECT …'
	@$(PYTHON) -m local query $(if $(USE_CASE),--use-case '$(USE_CASE)') "$$SQL"

lab: $(STAMP) ## open the notebooks in JupyterLab, on the lake and MLflow of this stack
	@$(PYTHON) -m local lab

lint: $(STAMP) ## check style, spelling and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m codespell_lib
	@$(PYTHON) -m mypy

format: $(STAMP) ## bring the code into the project's style
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

# A file's tests stay together, because they share servers; the longest files start first (tests/conftest.py).
# One worker more than cores: tests wait for what they start. The fast lane starts nothing.
TEST_WORKERS ?= 3
PYTEST := $(PYTHON) -m pytest --dist loadfile --no-loadscope-reorder -n $(TEST_WORKERS)

test: lint ## lint, types and tests
	@$(PYTEST)

FAST := -n 2 -q -m "not (airflow or slow or spark or stack)"

test-fast: $(STAMP) ## the tests that start nothing, in 90 seconds
	@$(PYTEST) $(FAST)

test-model: $(STAMP) ## load and serve a champion where nothing but its own requirements are (installs them)
	@$(PYTHON) -m tests.empty_environment

coverage: $(STAMP) ## what the fast lane covers, held to a floor (pyproject.toml)
	@$(PYTEST) $(FAST) --cov --cov-report=term

ENGINES := .nightshift/engines

$(ENGINES)/%: tests/engines/%.txt
	@rm -rf $@ && python3 -m venv $@ && $@/bin/pip install --quiet --requirement $<

$(ENGINES)/jars: tests/engines/pom.xml
	@mvn -q -B -f $< dependency:build-classpath -DincludeGroupIds=io.delta,io.unitycatalog -Dmdep.outputFile=$(CURDIR)/$@

test-engines: $(STAMP) $(ENGINES)/duckdb $(ENGINES)/polars $(ENGINES)/spark $(ENGINES)/jars ## DuckDB, polars and Spark read our Delta tables (downloads them)
	@$(PYTHON) -m pytest -q tests/engines

CLIENTS := .nightshift/clients

$(CLIENTS)/%: tests/clients/%.txt
	@rm -rf $@ && python3 -m venv $@ && $@/bin/pip install --quiet --requirement $<

test-clients: $(STAMP) $(CLIENTS)/triton ## NVIDIA's client of the Open Inference Protocol asks our server (downloads it)
	@$(PYTHON) -m pytest -q tests/clients

REPLICAS := .nightshift/replicas

$(REPLICAS)/versitygw:
	@GOBIN=$(CURDIR)/$(REPLICAS) go install github.com/versity/versitygw/cmd/versitygw@v1.8.0

test-replicas: $(STAMP) $(REPLICAS)/versitygw ## 3 and 10 servers behind HAProxy, on a folder and on a real S3: releases under load, kill -9
	@$(PYTHON) -m pytest -q tests/replicas

ESTIMATORS := .nightshift/estimators

# What the base installs, and LightGBM and XGBoost, which it does not.
$(ESTIMATORS): $(STAMP) requirements.estimators.lock
	@rm -rf $@ && $(PYTHON) -m venv $@
	@$(PYTHON) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$(echo $@/lib/python*/site-packages)/base.pth
	@$@/bin/pip install --quiet --no-deps --requirement requirements.estimators.lock

test-estimators: $(ESTIMATORS) ## LightGBM and XGBoost as estimators (downloads both)
	@$(ESTIMATORS)/bin/python -m pytest -q tests/estimators/other_libraries.py

bench-parse: $(STAMP) ## parse time of the DAG files beside a bare pod operator's
	@$(PYTHON) -m benchmarks.parse

bench-publish: $(STAMP) ## publishing 300 partitions with their Delta log beside publishing without
	@$(PYTHON) -m benchmarks.publish $(ARGS)

# The benchmarks of a use case are its own.
include $(wildcard benchmarks/*/targets.mk)

picture: $(STAMP) ## take the pictures of docs/ from a running `make up` (needs Chromium)
	@$(PYTHON) docs/pictures/take.py

system: $(STAMP) ## draw the whole system
	@$(PYTHON) docs/pictures/system.py

reference: $(STAMP) ## write docs/reference/ and the README's settings from the docstrings
	@$(PYTHON) docs/reference/use_case.py
	@$(PYTHON) docs/reference/steps.py
	@$(PYTHON) docs/reference/settings.py

timetable: $(STAMP) ## draw the day as timetable.yaml plans it
	@$(PYTHON) docs/pictures/timetable.py

UV_COMPILE := uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11

lock: ## resolve the versions again, each use case's too (needs uv); only those of one: make lock USE_CASE=…
ifdef USE_CASE
	@$(PYTHON) -m local lock --use-case '$(USE_CASE)'
else
	$(UV_COMPILE) pyproject.toml --group airflow --group steps --group spark --group serving --group local --group dev \
		-o requirements.lock
	$(UV_COMPILE) -c requirements.lock pyproject.toml --group airflow -o requirements.txt
	$(UV_COMPILE) -c requirements.lock pyproject.toml --group steps -o docker/step/requirements.txt
	$(UV_COMPILE) -c requirements.lock pyproject.toml --group spark -o docker/spark/requirements.txt
	$(UV_COMPILE) -c requirements.lock --group serving -o docker/serving/requirements.txt
	$(UV_COMPILE) -c requirements.lock --group lab -o notebooks/requirements.txt
	$(UV_COMPILE) -c requirements.lock --group lightgbm --group xgboost -o requirements.estimators.lock
	@$(PYTHON) -m local lock
endif

clean: ## stop everything, then delete .venv and all state (.nightshift)
	@if [ -e $(STAMP) ]; then $(PYTHON) -m local down; fi
	@rm -rf .venv .nightshift .mypy_cache .ruff_cache .pytest_cache
