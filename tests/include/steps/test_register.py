"""register: once a night, with everything on the version, and aliases that never go back."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.errors import DataError, FaultError
from include.model_registry.tracking import open_client
from include.model_registry.versions import Alias, Registry, Role
from include.modelling.recipe import Gates
from include.step import Context
from include.steps.choose import read_decision
from include.steps.register import RegisterArguments, register
from include.storage.lake import Dataset, Layer
from tests.include import learning
from tests.include.learning import GATES, HABIT, LAST, PACKAGE, RATES, WEATHER

pytestmark = pytest.mark.slow

NEXT = LAST + timedelta(days=1)


@pytest.fixture
def tracking_url(tmp_path: Path, empty_registry: Path) -> str:
    """The address of an MLflow of the test's own."""
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}"


@pytest.fixture
def made(tmp_path: Path, tracking_url: str) -> Context:
    """Two candidates over a filled lake."""
    context = learning.context(tmp_path, tracking_url, candidates=(WEATHER, RATES), gates=GATES)
    learning.fill(context.lake, last=NEXT)
    return context


def arguments(day: date = LAST) -> RegisterArguments:
    return RegisterArguments.model_validate({"use_case": PACKAGE, "date": day})


def registry(context: Context) -> Registry:
    return Registry.open(context.settings, "ice_cream")


def test_an_experiment_that_was_deleted_in_mlflow_stops_no_night(made: Context) -> None:
    # Given a night whose experiment somebody deletes before it is registered
    learning.night(made, LAST)
    client = open_client(made.settings)
    client.delete_experiment(client.get_experiment_by_name("ice_cream").experiment_id)
    # Then this night is registered all the same, and its run is there again
    register(made, arguments())
    experiment = client.get_experiment_by_name("ice_cream")
    assert experiment.lifecycle_stage == "active"
    assert {run.data.tags["data_day"] for run in client.search_runs([experiment.experiment_id])} == {LAST.isoformat()}


def test_a_version_carries_what_decided_it(made: Context) -> None:
    learning.night(made, LAST)

    result = register(made, arguments())

    entry = open_client(made.settings).get_model_version("ice_cream", result.facts["version"])
    content = made.lake.get(f"models/{entry.tags['sha256']}.onnx")
    assert hashlib.sha256(content).hexdigest() == entry.tags["sha256"]
    assert entry.tags["model_uri"] == result.uris["model"]
    assert entry.tags["trained_through"] == "2026-06-12"
    assert entry.tags["use_case"] == "ice_cream"
    assert entry.tags["approved"] == "true"
    assert entry.tags["verdict"] == "better"
    assert float(entry.tags["auc_difference_low"]) > 0
    assert len(entry.tags["data_sha256"]) == 64
    assert entry.tags["code_revision"]
    assert "**Promoted** for data day 2026-06-12" in entry.description
    assert "| weather |" in entry.description
    assert open_client(made.settings).get_run(entry.run_id).data.tags["candidate"] == "weather"


def test_a_version_has_a_card_that_its_description_leads_to(
    tmp_path: Path, tracking_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a night that Airflow runs
    monkeypatch.setenv("NIGHTSHIFT_RUN", "ice_cream_nightly/scheduled__2026-06-13T00:30/register")
    gates = replace(GATES, min_slice_rows=50)
    made = learning.context(tmp_path, tracking_url, candidates=(WEATHER, RATES), gates=gates)
    learning.fill(made.lake)
    learning.night(made, LAST)
    result = register(made, arguments())
    client = open_client(made.settings)
    entry = client.get_model_version("ice_cream", result.facts["version"])

    # Then its card is an artifact of the version, as text and as a page, and both lead back to the data and the run
    run = client.get_run(entry.run_id).info
    page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/model/card.html"
    docs = "http://127.0.0.1:8080/data-docs/ice_cream/data_day=2026-06-12/index.html"
    airflow = "http://127.0.0.1:8080/dags/ice_cream_nightly/runs/scheduled__2026-06-13T00%3A30"
    assert entry.description.startswith(f"[Model card]({page}) · [Data Docs]({docs}) · [Airflow run]({airflow})")
    card, html = (artifact(client, entry.run_id, f"model/card.{kind}") for kind in ("md", "html"))
    for address in (docs, airflow):
        assert address in card
        assert f'href="{address}"' in html

    # And it tells the data, the decision, the figures and the limits, each as the night published it
    assert "# ice_cream: weather, trained through 2026-06-12" in card
    assert "Fitted on 1200 labelled rows" in card
    assert "| features/morning | 40 | 2026-05-04 | 2026-06-12 |" in card
    assert "**Promoted** for data day 2026-06-12" in card
    report = json.loads(made.lake.read_file(Dataset(Layer.CANDIDATES, "weather").on(LAST), "report.json"))
    assert f"{report['scores']['morning']['auc']:.4g}" in card
    assert "| morning/kiosk/kiosk 0 |" in card
    assert "- Slices are watched by kiosk; one with fewer than 50 rows is not judged." in card
    assert "- There was no champion." in card
    assert html.count('src="data:image/png;base64,') == 2
    assert "://" not in re.sub(r'href="[^"]*"', "", html)


def artifact(client: MlflowClient, run_id: str, name: str) -> str:
    """An artifact of a run, as text."""
    return Path(client.download_artifacts(run_id, name)).read_text(encoding="utf-8")


def test_the_first_night_also_registers_a_version_that_had_not_seen_the_day(made: Context) -> None:
    learning.night(made, LAST)

    register(made, arguments())

    first, second = registry(made).versions()
    assert (first.role, first.trained_through, first.approved) == (Role.BACKTEST, date(2026, 6, 5), True)
    assert (second.role, second.trained_through) == (Role.NIGHTLY, LAST)
    assert registry(made).newest_before(LAST) == first
    assert registry(made).newest_before(NEXT) == second
    assert registry(made).champion() == second
    assert registry(made).reigning_before(LAST) is None


def test_a_retry_registers_once(made: Context) -> None:
    learning.night(made, LAST)

    results = [register(made, arguments()) for _ in range(3)]

    assert len(registry(made).versions()) == 2
    assert {result.facts["version"] for result in results} == {"1"}


def test_a_retry_after_a_kill_between_two_registrations_makes_the_missing_one(made: Context) -> None:
    # Given a step that was killed after it had registered tonight's version and before the backtest
    learning.night(made, LAST)
    register(made, arguments())
    backtest = registry(made).versions()[0]
    open_client(made.settings).delete_model_version("ice_cream", backtest.version)

    # When it is retried
    register(made, arguments())

    # Then both are there, each once
    assert [version.role for version in registry(made).versions()] == [Role.BACKTEST, Role.NIGHTLY]


def test_the_next_night_makes_one_version_and_takes_both_aliases(made: Context) -> None:
    for day in (LAST, NEXT):
        learning.night(made, day)
        register(made, arguments(day))

    assert [version.trained_through for version in registry(made).versions()] == [date(2026, 6, 5), LAST, NEXT]
    newest = registry(made).versions()[-1]
    assert registry(made).aliases() == {"champion": newest.version, "challenger": newest.version}


def test_a_backfill_of_an_old_day_moves_no_alias(made: Context) -> None:
    learning.night(made, NEXT)
    register(made, arguments(NEXT))
    before = registry(made).aliases()

    learning.night(made, LAST)
    result = register(made, arguments(LAST))

    assert registry(made).aliases() == before
    assert result.facts["champion_trained_through"] == NEXT
    assert registry(made).newest_before(NEXT).trained_through == LAST  # type: ignore[union-attr]


def test_a_challenger_that_does_not_pass_is_kept_but_not_approved(made: Context, tmp_path: Path) -> None:
    learning.night(made, LAST)
    register(made, arguments())
    champion = registry(made).champion()
    url = made.settings.require("tracking_url")
    tonight = learning.context(tmp_path, url, candidates=(HABIT, RATES), gates=GATES)
    learning.night(tonight, NEXT)

    result = register(tonight, arguments(NEXT))

    assert not read_decision(tonight, NEXT)["promoted"]
    assert registry(made).champion() == champion
    assert registry(made).aliases()["challenger"] == result.facts["version"]
    assert registry(made).newest_before(NEXT + timedelta(days=1)) == champion


def test_a_version_that_was_rejected_stays_out_when_its_night_is_run_again(made: Context) -> None:
    for day in (LAST, NEXT):
        learning.night(made, day)
        register(made, arguments(day))
    older, newest = registry(made).versions()[-2:]

    # Given a person put the older version back
    registry(made).reject(newest, "answers are off")
    registry(made).set_alias(Alias.CHAMPION, older)
    register(made, arguments(NEXT))

    # Then the night that is run again does not undo it
    assert registry(made).champion() == older
    assert registry(made).newest_before(NEXT + timedelta(days=1)) == older
    assert registry(made).versions()[-1].rejected == "answers are off"


STRICT = Gates(max_calibration_error=0, max_calibration_excess=-1, slices=("kiosk",))


def test_a_night_that_is_decided_again_by_other_gates_has_its_version_follow(made: Context, tmp_path: Path) -> None:
    # Given two nights, the second of them with gates that let nothing pass
    learning.night(made, LAST)
    first = register(made, arguments()).facts["version"]
    url = made.settings.require("tracking_url")
    strict = learning.context(tmp_path, url, candidates=(WEATHER, RATES), gates=STRICT)
    learning.night(strict, NEXT)
    refused = register(strict, arguments(NEXT))
    assert (refused.facts["approved"], refused.facts["champion"]) == (False, first)

    # When the night is run again with the gates as they were
    learning.night(made, NEXT)
    passed = register(made, arguments(NEXT))

    # Then the same version is approved, and champion
    version = refused.facts["version"]
    assert (passed.facts["version"], passed.facts["approved"], passed.facts["champion"]) == (version, True, version)
    assert "**Promoted**" in open_client(made.settings).get_model_version("ice_cream", version).description

    # And when it is run with the strict ones again, it is neither
    learning.night(strict, NEXT)
    again = register(strict, arguments(NEXT))
    assert (again.facts["version"], again.facts["approved"], again.facts["champion"]) == (version, False, first)


def test_candidates_trained_again_after_the_decision_are_not_registered_by_it(made: Context) -> None:
    learning.night(made, LAST)
    partition = "candidates/weather/data_day=2026-06-12"
    manifest = made.lake.store.read(f"ice_cream/{partition}/_manifest.json").decode()
    report = next(line for line in manifest.splitlines() if "report-" in line)
    made.lake.store.replace(
        f"ice_cream/{partition}/_manifest.json", manifest.replace(report, report.replace("report", "reports")).encode()
    )

    with pytest.raises(DataError, match=f"{partition} was trained again after the decision; run choose"):
        register(made, arguments())


def test_without_a_decision_it_says_which_step_is_missing(made: Context) -> None:
    with pytest.raises(DataError, match="decisions/champion/data_day=2026-06-12 is not published; run the step"):
        register(made, arguments())


@pytest.mark.stack
def test_two_runs_at_once_register_once(made: Context, database_url: str, tmp_path: Path) -> None:
    # Given two runs of one night, with a real PostgreSQL between them
    url = made.settings.require("tracking_url")
    both = learning.context(tmp_path, url, candidates=(WEATHER, RATES), gates=GATES, database_url=database_url)
    learning.night(both, LAST)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            register(both, arguments())
        except BaseException as error:
            failed.append(error)

    # When both register
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Then there is one version of each kind
    assert failed == []
    assert [version.role for version in registry(both).versions()] == [Role.BACKTEST, Role.NIGHTLY]


@pytest.mark.stack
def test_a_killed_writer_does_not_keep_the_lock(made: Context, database_url: str, tmp_path: Path) -> None:
    # Given a process that was killed while it held the registry's lock
    code = (
        "import sys, time; from unittest.mock import Mock; from include.model_registry.versions import Registry;"
        "from include.settings import Settings; s = Settings(tracking_url='x', database_url=sys.argv[1])\n"
        "with Registry(Mock(), 'ice_cream', s).locked():\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, database_url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    # When the next one registers, then it is let in
    learning.night(made, LAST)
    next_one = learning.context(
        tmp_path,
        made.settings.require("tracking_url"),
        candidates=(WEATHER, RATES),
        gates=GATES,
        database_url=database_url,
    )
    assert register(next_one, arguments()).facts["approved"]


def test_postgresql_down_is_one_clear_line(made: Context, tmp_path: Path) -> None:
    learning.night(made, LAST)
    down = learning.context(
        tmp_path,
        made.settings.require("tracking_url"),
        candidates=(WEATHER, RATES),
        gates=GATES,
        database_url="postgresql://me:hidden@127.0.0.1:1/nightshift",
    )

    with pytest.raises(
        FaultError, match=r"PostgreSQL at postgresql://me:\*\*\*@127\.0\.0\.1:1/nightshift: .*is it up"
    ) as told:
        register(down, arguments())
    assert "\n" not in str(told.value)
    assert registry(made).versions() == []
