"""train: published once, the same every time, and never with the future in it."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from mlflow.data import get_source

from include.errors import CodeError, DataError, FaultError, SettingsError, SkippedError
from include.model_registry import tracking
from include.model_registry.tracking import open_client
from include.settings import Settings
from include.step import Context
from include.steps.train import TrainArguments, train
from include.storage.lake import Dataset, Layer
from tests.include import learning
from tests.include.learning import LAST, PACKAGE

pytestmark = pytest.mark.slow

TREES = Dataset(Layer.CANDIDATES, "hist_gradient_boosting").on(LAST)


@pytest.fixture
def tracking_url(tmp_path: Path, empty_registry: Path) -> str:
    """The address of an MLflow of the test's own."""
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}"


@pytest.fixture
def context(tmp_path: Path, tracking_url: str) -> Context:
    """Ice cream with a filled lake."""
    made = learning.context(tmp_path, tracking_url)
    learning.fill(made.lake)
    return made


def arguments(candidate: str = "hist_gradient_boosting", **further: object) -> TrainArguments:
    return TrainArguments.model_validate({"use_case": PACKAGE, "date": LAST, "candidate": candidate, **further})


def test_a_candidate_is_published_with_its_models_and_figures(context: Context) -> None:
    result = train(context, arguments())

    manifest = context.lake.require(TREES)
    report = json.loads(context.lake.read_file(TREES, "report.json"))
    holdout = context.lake.read(TREES)
    assert {file.name.rsplit("-", 1)[0] for file in manifest.files} >= {"model", "backtest", "holdout", "report"}
    assert holdout.column_names == ["kiosk_day", "horizon", "date", "kiosk", "label", "probability"]
    assert report["window"] == {"fit_through": "2026-06-05", "first": "2026-06-06", "last": "2026-06-12"}
    assert set(holdout["date"].to_pylist()) == {date(2026, 6, 5) + timedelta(days=n) for n in range(1, 8)}
    assert result.metrics["morning_auc"] == pytest.approx(report["scores"]["morning"]["auc"], abs=1e-5)
    assert result.metrics["morning_auc"] > 0.8
    assert next(iter(report["importance"])) == "forecast"


def test_the_same_night_again_changes_no_byte_and_logs_no_second_run(context: Context) -> None:
    train(context, arguments())
    before = context.lake.require(TREES)

    found = train(context, arguments())
    again = train(context, arguments(force=True))

    assert found.facts["found_done"]
    assert "found_done" not in again.facts
    assert context.lake.require(TREES).to_json() == before.to_json()
    assert len(runs(context)) == 1


def test_a_run_that_mlflow_was_told_half_of_is_completed_by_the_retry(context: Context) -> None:
    # Given a step killed between making its run and finishing it, before it published
    train(context, arguments())
    client = open_client(context.settings)
    client.set_terminated(runs(context)[0].info.run_id, "FAILED")
    context.lake.store.delete(f"ice_cream/{TREES}/_manifest.json")

    # When it is retried
    train(context, arguments())

    # Then the same run is finished
    assert [run.info.status for run in runs(context)] == ["FINISHED"]


def test_mlflow_tells_what_the_model_was_made_from(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_RUN", "ice_cream_nightly/scheduled__1/train")

    train(context, arguments())

    run = runs(context)[0]
    client = open_client(context.settings)
    assert run.data.params["max_iter"] == "30"
    assert run.data.metrics["morning/auc"] > 0.8
    folds = client.get_metric_history(run.info.run_id, "morning/auc")
    days = [datetime.fromtimestamp(fold.timestamp / 1_000, UTC).date().isoformat() for fold in folds]
    assert [(fold.step, day) for fold, day in zip(folds, days, strict=True)] == [
        (1, "2026-05-29"),
        (2, "2026-06-05"),
        (3, "2026-06-12"),
    ]
    assert folds[-1].value == run.data.metrics["morning/auc"]
    assert run.data.metrics["system/peak_rss_mib"] > 50
    assert run.data.metrics["system/fit_cpu_seconds"] > 0
    assert (run.data.tags["estimator"], run.data.tags["baseline"]) == ("hist_gradient_boosting", "false")
    note = run.data.tags["mlflow.note.content"]
    assert "[Data Docs](http://127.0.0.1:8080/data-docs/ice_cream/data_day=2026-06-12/index.html)" in note
    assert "[Airflow run](http://127.0.0.1:8080/dags/ice_cream_nightly/runs/scheduled__1)" in note
    assert run.data.tags["code_revision"]
    assert run.data.tags["scikit-learn"]
    datasets = {used.dataset.name: used.dataset for used in run.inputs.dataset_inputs}
    assert datasets.keys() == {"features/morning", "raw/sales"}
    assert get_source(datasets["raw/sales"]).uri == context.lake.store.uri("ice_cream/raw/sales")
    assert json.loads(datasets["raw/sales"].profile)["last"] == "2026-06-12"
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names >= {"model.onnx", "calibration.png", "importance.png", "manifests.json", "report.json"}


def test_new_data_are_trained_on_again(context: Context) -> None:
    train(context, arguments())
    before = context.lake.require(TREES)
    table = context.lake.read(learning.SALES.on(date(2026, 5, 20)))
    context.lake.publish(learning.SALES.on(date(2026, 5, 20)), {"rows.parquet": table.slice(3)}, force=True)

    train(context, arguments())

    assert context.lake.require(TREES).sha256 != before.sha256


def test_another_label_is_another_candidate(context: Context) -> None:
    # Given a candidate from the label.py of yesterday
    train(context, arguments())
    before = context.lake.require(TREES)
    yesterdays = {**before.inputs, "label": "yesterday's"}
    context.lake.store.replace(f"ice_cream/{TREES}/_manifest.json", replace(before, inputs=yesterdays).to_json())

    # When the same night is run with that of today
    result = train(context, arguments())

    # Then it is trained again, and what it is made from is told
    assert "found_done" not in result.facts
    assert context.lake.require(TREES).inputs == before.inputs


def test_an_older_releases_candidate_is_made_again_once(context: Context) -> None:
    train(context, arguments())
    before = context.lake.require(TREES)
    older = {name: sha256 for name, sha256 in before.inputs.items() if "/data_day=" in name or name == "recipe"}
    context.lake.store.replace(f"ice_cream/{TREES}/_manifest.json", replace(before, inputs=older).to_json())

    assert "found_done" not in train(context, arguments()).facts
    assert train(context, arguments()).facts["found_done"]
    assert context.lake.require(TREES).to_json() == before.to_json()


def test_what_comes_after_the_day_changes_nothing(context: Context, tmp_path: Path) -> None:
    train(context, arguments())
    other = learning.context(tmp_path / "other", context.settings.require("tracking_url"))
    learning.fill(other.lake, last=LAST + timedelta(days=9))

    train(other, arguments())

    assert other.lake.require(TREES).to_json() == context.lake.require(TREES).to_json()


def test_what_comes_after_the_windows_start_does_not_change_what_is_judged(context: Context, tmp_path: Path) -> None:
    train(context, arguments())
    # Given the same days, but for the sales of the judging window
    other = learning.context(tmp_path / "other", context.settings.require("tracking_url"))
    learning.fill(other.lake)
    day = date(2026, 6, 8)
    sales = other.lake.read(learning.SALES.on(day))
    flipped = sales.set_column(4, "sold_out", [[not out for out in sales["sold_out"].to_pylist()]])
    other.lake.publish(learning.SALES.on(day), {"rows.parquet": flipped}, force=True)

    train(other, arguments())

    # Then the model that is judged is the same one, and the one that is shipped is not
    assert other.lake.read_file(TREES, "backtest.onnx") == context.lake.read_file(TREES, "backtest.onnx")
    assert other.lake.read_file(TREES, "model.onnx") != context.lake.read_file(TREES, "model.onnx")


def test_a_candidate_that_was_not_asked_for_is_skipped(context: Context) -> None:
    with pytest.raises(SkippedError, match="hist_gradient_boosting was not asked for"):
        train(context, arguments(candidates="historical_rates"))
    assert context.lake.manifest(TREES) is None


def test_an_unknown_candidate_is_named(context: Context) -> None:
    for wrong in ({"candidate": "forest"}, {"candidates": "forest"}):
        with pytest.raises(SettingsError, match="candidate 'forest' is none of hist_gradient_boosting, historical"):
            train(context, arguments(**wrong))


def test_an_input_that_is_no_feature_is_named_with_the_one_that_was_meant(tmp_path: Path, tracking_url: str) -> None:
    misspelt = replace(learning.WEATHER, inputs=("forecats",))
    made = learning.context(tmp_path, tracking_url, candidates=(misspelt,))
    with pytest.raises(CodeError, match=r"input .forecats. is none of .*; did you mean forecast\?"):
        train(made, arguments(candidate=misspelt.name))


def test_too_few_days_are_refused_in_words(tmp_path: Path, tracking_url: str) -> None:
    made = learning.context(tmp_path, tracking_url)
    learning.fill(made.lake, first=LAST - timedelta(days=5))

    with pytest.raises(DataError, match="too few to judge 7 days up to 2026-06-12; choose a later date"):
        train(made, arguments())


def test_a_day_without_features_names_the_step_that_makes_them(tmp_path: Path, tracking_url: str) -> None:
    made = learning.context(tmp_path, tracking_url)
    learning.fill(made.lake, last=LAST - timedelta(days=1))

    with pytest.raises(DataError, match="features/morning/data_day=2026-06-12 is not published"):
        train(made, arguments())


def test_a_missing_feature_column_is_named(context: Context) -> None:
    day = date(2026, 5, 9)
    table = context.lake.read(learning.FEATURES.on(day)).drop_columns(["forecast"])
    context.lake.publish(learning.FEATURES.on(day), {"rows.parquet": table}, force=True)

    with pytest.raises(DataError, match="features/morning/data_day=2026-05-09: column 'forecast' is none of"):
        train(context, arguments())


def test_mlflow_down_gives_one_clear_line_after_bounded_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given nothing listens where MLflow should
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pauses: list[float] = []
    monkeypatch.setattr(tracking, "sleep", pauses.append)
    monkeypatch.setattr("include.steps.train.examples_for", lambda *_: pytest.fail("examples were read in vain"))

    for url in (f"http://127.0.0.1:{port}", f"postgresql://me:hidden@127.0.0.1:{port}/mlflow"):
        made = learning.context(tmp_path, url)
        learning.fill(made.lake)
        pauses.clear()

        # When a candidate is trained
        with pytest.raises(FaultError) as told:
            train(made, arguments("historical_rates"))

        # Then it says so, in one line without the password, after few tries, and nothing is published
        assert len(pauses) == tracking.ATTEMPTS - 1
        assert f"127.0.0.1:{port}" in str(told.value)
        assert "does not answer (3 tries)" in str(told.value)
        assert "\n" not in str(told.value)
        assert "hidden" not in str(told.value)
        assert made.lake.days(Dataset(Layer.CANDIDATES, "historical_rates")) == []


def runs(context: Context) -> list:  # type: ignore[type-arg]
    """The MLflow runs of the use case."""
    client = open_client(Settings(tracking_url=context.settings.tracking_url))
    experiment = client.get_experiment_by_name("ice_cream")
    return list(client.search_runs([experiment.experiment_id]))
