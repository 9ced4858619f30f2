# The benchmarks of flight delay; the Makefile reads this.
.PHONY: bench bench-quality bench-replicas bench-serving bench-scoring

bench: bench-parse $(STAMP) ## features rows/s beside DuckDB, and the parse time of the DAG files
	@$(PYTHON) -m benchmarks.flight_delay.features
	@$(PYTHON) -m benchmarks.flight_delay.workers

bench-quality: $(STAMP) ## AUC and Brier over October to December
	@$(PYTHON) -m benchmarks.flight_delay.quality

# The forecast first: the last line is the comparison's.
bench-serving: $(STAMP) ## forecasts with slow upstreams; serving beside mlflow's server and a bare spike; writes docs/benchmarks.md
	@$(PYTHON) -m benchmarks.flight_delay.forecast
	@$(PYTHON) -m benchmarks.flight_delay.serving $(ARGS)

bench-scoring: $(STAMP) ## batch scoring in rows/s beside scikit-learn's predict_proba
	@$(PYTHON) -m benchmarks.flight_delay.scoring $(ARGS)

bench-replicas: $(STAMP) ## two servers on two cores beside one, and the rollback of ten; writes docs/benchmarks.md (needs HAProxy)
	@$(PYTHON) -m benchmarks.flight_delay.replicas $(ARGS)
