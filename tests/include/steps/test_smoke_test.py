from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from formats.release import ReleaseEvent
from include.deployment.fleet import RefusedError
from include.deployment.serving_api import ServedModel, ServingApi
from include.errors import DataError, FaultError
from include.step import Context, Result
from include.steps import deploy, rollback, score
from include.steps.smoke_test import SmokeTestArguments, smoke_test
from include.storage.lake import Dataset, Layer
from tests.factory import DAY, ROWS, USE_CASE, Factory, features
from tests.serving_process import ServingProcess

TOMORROW = DAY + timedelta(days=1)
NIGHTLY = Dataset(Layer.PREDICTIONS, "nightly")
pytestmark = pytest.mark.stack


def run(factory: Factory, day: date = DAY) -> Result:
    return smoke_test(factory.context, SmokeTestArguments(use_case=USE_CASE, date=day))


def night(factory: Factory, day: date = DAY) -> None:
    """Everything before the smoke test of a night whose model is promoted."""
    factory.day(day)
    factory.version(day)
    score.score(factory.context, score.ScoreArguments(use_case=USE_CASE, date=day))
    deploy.deploy(factory.context, deploy.DeployArguments(use_case=USE_CASE, date=day))


def spoil(factory: Factory, day: date, *, by: float) -> None:
    """Publish predictions that are not the served model's."""
    predictions = factory.lake.read(NIGHTLY.on(day))
    place = predictions.column_names.index("probability")
    wrong = pc.add(predictions["probability"], by)
    factory.lake.publish(
        NIGHTLY.on(day), {"p.parquet": predictions.set_column(place, "probability", wrong)}, force=True
    )


def test_the_service_answers_as_batch_scoring_did(factory: Factory) -> None:
    night(factory)

    result = run(factory)

    assert result.rows == {"nightly": 50, "two_hours": 50}
    assert result.facts == {"version": "1", "against": {"nightly": "predictions", "two_hours": "model file"}}
    assert result.metrics["nightly_worst_difference"] <= 1e-12
    noted = factory.releases.tail()
    assert (noted.event, noted.metrics["rows"]) == (ReleaseEvent.CHECKED, {"nightly": 50, "two_hours": 50})
    assert noted.serving is not None
    assert noted.serving.checked


def test_a_day_of_few_rows_is_asked_whole_and_one_of_none_is_no_error(factory: Factory) -> None:
    factory.day(rows=3)
    factory.day(TOMORROW, rows=0)
    factory.version(DAY)
    deploy.deploy(factory.context, deploy.DeployArguments(use_case=USE_CASE, date=DAY))

    assert run(factory).rows == {"nightly": 3, "two_hours": 3}
    assert run(factory, TOMORROW).rows == {"nightly": 0, "two_hours": 3}


def test_a_failed_smoke_test_puts_the_previous_back(factory: Factory) -> None:
    # Given a good night, and one whose predictions are not what the service answers
    night(factory)
    run(factory)
    night(factory, TOMORROW)
    spoil(factory, TOMORROW + timedelta(days=1), by=2e-6)

    # When the service is asked, Then the task fails in one line that names what differs and what serves now
    with pytest.raises(DataError) as failed:
        run(factory, TOMORROW)
    line = str(failed.value)
    assert "smoke test of version 2 failed: nightly of 2013-10-03: 50 of 50 answers differ" in line
    assert "version 1 was put back (registry: version 2 rejected, champion is version 1)" in line
    assert "\n" not in line

    # And the version before serves, the history and the registry say why
    assert factory.served() == "1"
    assert factory.told() == [("deployed", "1"), ("checked", "1"), ("promoted", "2"), ("restored", "1")]
    assert "answers differ" in factory.releases.tail().why
    champion = factory.registry.champion()
    assert champion is not None
    assert champion.version == "1"
    assert "answers differ" in (factory.registry.versions()[-1].rejected or "")

    # And the next deploy does not bring it back
    deploy.deploy(factory.context, deploy.DeployArguments(use_case=USE_CASE, date=TOMORROW))
    assert factory.served() == "1"


def refuse(*_: object) -> None:
    """What the servers say of a file that they cannot load."""
    raise RefusedError("replica 1: it is no model file")


def test_a_previous_model_that_cannot_be_put_back_is_a_fault_that_says_both(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(factory)
    night(factory, TOMORROW)
    spoil(factory, TOMORROW + timedelta(days=1), by=0.01)
    monkeypatch.setattr("include.deployment.fleet.Fleet.settle", refuse)

    with pytest.raises(FaultError, match=r"50 answers differ .* version 1 could not be put back .*it is no model file"):
        run(factory, TOMORROW)

    assert factory.served() == "2"


def test_a_difference_within_the_tolerance_passes(factory: Factory) -> None:
    night(factory)
    spoil(factory, TOMORROW, by=5e-7)

    assert run(factory).metrics["nightly_worst_difference"] == pytest.approx(5e-7, rel=1e-3)


def test_a_first_deployment_that_fails_is_withdrawn(factory: Factory) -> None:
    night(factory)
    spoil(factory, TOMORROW, by=0.01)

    with pytest.raises(DataError, match="it was withdrawn, nothing served before"):
        run(factory)

    assert factory.served() is None
    assert factory.told() == [("deployed", "1"), ("withdrawn", "1")]


def test_a_deployment_that_passed_before_is_not_replaced_by_a_later_failure(factory: Factory) -> None:
    night(factory)
    night(factory, TOMORROW)
    run(factory, TOMORROW)
    spoil(factory, TOMORROW + timedelta(days=1), by=0.01)

    with pytest.raises(DataError, match="it served well before and stays"):
        run(factory, TOMORROW)

    assert factory.served() == "2"


def test_predictions_of_another_version_are_not_the_yardstick(factory: Factory) -> None:
    # Given a served version that did not make the day's predictions, which are spoilt besides
    night(factory)
    night(factory, TOMORROW)
    rollback.rollback(factory.context, rollback.RollbackArguments(use_case=USE_CASE, date=TOMORROW))
    spoil(factory, TOMORROW + timedelta(days=1), by=0.3)

    # Then it is held against its own model file
    result = run(factory, TOMORROW)
    assert result.facts == {"version": "1", "against": {"nightly": "model file", "two_hours": "predictions"}}


def test_a_server_that_follows_other_releases_fails(factory: Factory, tmp_path: Path) -> None:
    # Given a good night, a second one, and a server that follows another folder
    night(factory)
    run(factory)
    night(factory, TOMORROW)
    stray = ServingProcess(tmp_path / "stray", tmp_path / "other")
    stray.start()
    settings = factory.settings.model_copy(update={"serving_url": stray.url, "release_seconds": 1.0})
    context = Context(settings, factory.context.use_case, factory.lake)

    # When it is asked, Then the new version, which nobody has seen answer, is taken back
    try:
        with pytest.raises(DataError, match=r"but nothing is served after 1 s; version 1 was put back"):
            smoke_test(context, SmokeTestArguments(use_case=USE_CASE, date=TOMORROW))
    finally:
        stray.stop()
    assert factory.served() == "1"


def test_a_server_that_is_down_is_a_fault_and_puts_nothing_back(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.deployment.serving_api.PAUSE_SECONDS", 0.01)
    night(factory)
    factory.server.stop()

    with pytest.raises(FaultError, match="does not answer"):
        run(factory)
    factory.server.start()

    assert run(factory).facts["version"] == "1"
    assert factory.told() == [("deployed", "1"), ("checked", "1")]


def test_a_server_that_finds_a_new_use_case_late_is_waited_for(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that did not follow the use case yet when its first version was released
    night(factory)
    served, answers = ServingApi.served, [None, None]

    def late(api: ServingApi) -> ServedModel | None:
        return answers.pop() if answers else served(api)

    monkeypatch.setattr(ServingApi, "served", late)

    # When it is asked, Then that is no failure
    assert run(factory).facts["version"] == "1"
    assert answers == []


def test_features_that_the_service_refuses_fail(factory: Factory) -> None:
    night(factory)
    table = features(TOMORROW)
    absurd = table.set_column(
        table.column_names.index("distance"), "distance", pa.array([float("inf")] * ROWS, pa.float64())
    )
    factory.lake.publish(Dataset(Layer.FEATURES, "nightly").on(TOMORROW), {"rows.parquet": absurd}, force=True)

    with pytest.raises(DataError, match="answered 422: row 0, field 'distance'"):
        run(factory)


def test_when_nothing_was_ever_deployed_that_is_said(factory: Factory) -> None:
    assert run(factory).facts == {"version": None, "why": "nothing was deployed yet"}
