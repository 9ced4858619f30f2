from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from formats.release import ReleaseEvent
from formats.rollout_plan import Limits, Plan
from include.deployment.fleet import Fleet
from include.deployment.writer import OvertakenError, ReleaseWriter, Tail
from include.errors import DataError, FaultError
from include.step import Context, Result
from include.steps.deploy import DeployArguments, deploy
from tests.factory import DAY, ROWS, USE_CASE, Factory
from tests.portable_files import portable_bytes
from tests.serving_process import free_port
from tests.waiting import PATIENCE, until

PATIENT = Plan(shadow_rows=50, idle_seconds=0.5, limits=Limits(slower_seconds=5))
"""A machine that is busy is not taken for a slow model."""
pytestmark = pytest.mark.stack


class KilledError(BaseException):
    """The step was killed: none of its own handlers runs."""


def settle_once(*, killed_at: int) -> Callable[..., Any]:
    """A wait for the servers that does not come back, the n-th time."""
    settle, calls = Fleet.settle, []

    def wait(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == killed_at:
            raise KilledError
        return settle(*given)

    return wait


def run(factory: Factory, day: date = DAY, *, force: bool = False, **settings: Any) -> Result:
    context = factory.context
    changed = Context(context.settings.model_copy(update=settings), context.use_case, context.lake)
    return deploy(changed, DeployArguments(use_case=USE_CASE, date=day, force=force))


def test_the_first_champion_goes_into_service(factory: Factory) -> None:
    champion = factory.version(DAY)

    result = run(factory)

    assert result.facts == {"deployed": True, "version": champion.version, "before": None, "replicas": 1}
    served = factory.releases.tail().serving
    assert served is not None
    assert (served.version, served.sha256, served.uri) == (champion.version, champion.sha256, champion.model_uri)
    assert served.trained_through == DAY
    assert factory.served() == champion.version
    assert factory.told() == [("deployed", "1")]


def test_the_next_champion_replaces_it(factory: Factory) -> None:
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))

    result = run(factory, DAY + timedelta(days=1))

    assert (result.facts["version"], result.facts["before"]) == ("2", "1")
    assert factory.served() == "2"
    assert factory.told() == [("deployed", "1"), ("promoted", "2")]


def test_the_next_champion_proves_itself_first_and_the_history_tells_how(factory: Factory) -> None:
    # Given a version in service that nobody asks, and the day's features
    factory.day()
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))

    # When the next one is deployed
    result = run(factory, DAY)

    # Then it was compared on the day's rows, watched for a moment, and promoted
    shadow, canary = result.facts["rollout"]["shadow"], result.facts["rollout"]["canary"]
    assert shadow["rows"] == 2 * ROWS
    assert shadow["psi"] < 0.5
    assert canary == {"rows": 0, "share": 0.1}
    newest = factory.releases.tail()
    assert (newest.event, newest.version) == (ReleaseEvent.PROMOTED, "2")
    assert newest.metrics == result.facts["rollout"]
    assert len(result.to_json()) < 4096


def test_a_champion_that_a_person_chose_in_mlflow_serves_and_the_history_says_who(factory: Factory) -> None:
    # Given two nights, the first of whose versions was rejected since
    older = factory.version(DAY)
    run(factory)
    newer = factory.version(DAY + timedelta(days=1))
    run(factory, DAY + timedelta(days=1))
    factory.registry.reject(older, "answers are off")

    # When a person moves the alias back to it, and writes a name on it
    client = factory.registry.client
    client.set_registered_model_alias("flight_delay", "champion", older.version)
    client.set_model_version_tag("flight_delay", older.version, "promoted_by", "Ada")
    result = run(factory, DAY + timedelta(days=1))

    # Then the next deploy serves it, and says who
    assert factory.served() == older.version
    assert (result.facts["before"], result.facts["why"]) == (newer.version, "champion by hand in MLflow (Ada)")
    newest = factory.releases.tail()
    assert (newest.version, newest.why) == (older.version, "champion by hand in MLflow (Ada)")
    [readmitted] = [version for version in factory.registry.versions() if version.version == older.version]
    assert (readmitted.approved, readmitted.rejected) == (True, None)


def test_a_champion_that_answers_otherwise_is_rolled_back_and_stays_out(factory: Factory) -> None:
    # Given a version in service, and a champion that answers every row alike
    factory.day()
    first = factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1), content=portable_bytes(weights=(0.0, 0.0, 0.0)))

    # When it is deployed, Then the task fails in one line that says what serves
    with pytest.raises(
        DataError,
        match=r"version 2 is rolled back, version 1 stays in service: shadow: .*hardly tells rows apart.*gates",
    ) as rejected:
        run(factory)
    assert "\n" not in str(rejected.value)
    assert factory.served() == "1"
    assert factory.told() == [("deployed", "1"), ("rejected", "2")]
    noted = factory.releases.tail()
    assert "hardly tells rows apart" in noted.why
    assert noted.metrics["shadow"]["rows"] == 2 * ROWS

    # And no later night tries it again
    champion = factory.registry.champion()
    assert champion is not None
    assert champion.version == first.version
    assert factory.registry.versions()[-1].rejected
    assert run(factory, DAY + timedelta(days=1)).facts["why"] == "the champion serves already"


def test_the_plan_is_the_use_cases_unless_the_settings_say_otherwise(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.day()
    factory.version(DAY)
    run(factory)

    factory.version(DAY + timedelta(days=1))
    without_canary = run(factory, rollout_share=0.0)
    gates = factory.context.use_case.part("gates")
    monkeypatch.setattr(gates, "ROLLOUT", Plan(shadow_rows=20, idle_seconds=0.2, share=0.3), raising=False)
    factory.version(DAY + timedelta(days=2))
    by_the_use_case = run(factory, DAY + timedelta(days=1))

    assert list(without_canary.facts["rollout"]) == ["shadow"]
    assert by_the_use_case.facts["rollout"]["canary"]["share"] == 0.3
    # The two horizons share twenty rows, and only one has features that late.
    assert by_the_use_case.facts["rollout"]["shadow"]["rows"] == 10


def test_without_features_a_version_is_tried_on_requests_only(factory: Factory) -> None:
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))

    result = run(factory)

    assert result.facts["rollout"]["shadow"] == {"rows": 0}
    assert factory.served() == "2"


def test_without_a_champion_what_is_served_stays_and_that_is_said(factory: Factory) -> None:
    result = run(factory)

    assert result.facts == {"deployed": False, "version": None, "why": "no version was promoted yet"}
    assert factory.served() is None


def test_when_nothing_was_promoted_what_is_served_stays(factory: Factory) -> None:
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1), champion=False)

    result = run(factory, DAY + timedelta(days=1))

    assert result.facts == {"deployed": False, "version": "1", "why": "the champion serves already"}
    assert factory.told() == [("deployed", "1")]


def test_a_backfill_of_old_days_does_not_replace_what_is_served(factory: Factory) -> None:
    # Given a served version, and a champion alias that a person moved to another one
    served = factory.version(DAY)
    run(factory)
    older = factory.version(DAY - timedelta(days=9), champion=False)
    factory.registry.client.set_registered_model_alias("flight_delay", "champion", older.version)

    # When an older day runs, even by force
    run(factory, DAY - timedelta(days=9))
    result = run(factory, DAY - timedelta(days=9), force=True)

    # Then nothing is replaced, and the result says why
    assert result.facts["deployed"] is False
    assert result.facts["why"].startswith("the run of 2013-09-22 is a backfill")
    assert factory.served() == served.version


def test_a_truncated_model_file_is_refused_and_the_one_before_stays(factory: Factory) -> None:
    # Given a version in service, and a champion whose file lost its end
    factory.version(DAY)
    run(factory)
    champion = factory.version(DAY + timedelta(days=1))
    path = Path(factory.settings.lake) / "flight_delay" / "models" / f"{champion.sha256}.onnx"
    path.write_bytes(path.read_bytes()[:-1])

    # When it is deployed, Then the task fails for good and says what still serves
    with pytest.raises(DataError, match=r"version 2 is not deployed, version 1 stays in service: .* SHA-256 is"):
        run(factory, DAY + timedelta(days=1))

    assert factory.served() == "1"
    assert factory.told() == [("deployed", "1")]


def test_a_model_that_fails_its_self_test_is_refused(factory: Factory) -> None:
    factory.version(DAY, content=portable_bytes(output="Identity", bias=float("nan")))

    with pytest.raises(DataError, match=r"version 1 is not deployed, nothing is in service: self-test failed"):
        run(factory)

    assert factory.served() is None
    assert factory.told() == []


def test_two_deploys_at_once_are_one(factory: Factory) -> None:
    # Given two nights that deploy the same champion at the same moment
    factory.version(DAY)

    def attempt(_: int) -> Result | None:
        try:
            return run(factory)
        except OvertakenError:
            return None

    # When one overtakes the other, Then that is a fault, and its retry finds everything done
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(attempt, range(2)))
    assert any(result is not None and result.facts["deployed"] for result in results)
    assert run(factory).facts["why"] == "the champion serves already"
    assert factory.told() == [("deployed", "1")]


@pytest.mark.parametrize("event", [ReleaseEvent.PREPARING, ReleaseEvent.SHADOW, ReleaseEvent.CANARY])
def test_a_deploy_killed_under_way_is_finished_by_its_retry(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, event: ReleaseEvent
) -> None:
    # Given a deploy process that is killed when its version is prepared, or on trial
    factory.day()
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))
    monkeypatch.setattr(factory.context.use_case.part("gates"), "ROLLOUT", PATIENT, raising=False)

    def append(writer: ReleaseWriter, tail: Tail, what: ReleaseEvent, *given: Any, **noted: Any) -> Tail:
        after = written(writer, tail, what, *given, **noted)
        if what is event:
            raise KilledError
        return after

    written = ReleaseWriter.append
    with monkeypatch.context() as dying:
        dying.setattr(ReleaseWriter, "append", append)
        with pytest.raises(KilledError):
            run(factory)
    begun = factory.releases.tail()
    assert begun.event is event
    assert factory.served() == "1"

    # When it is tried again
    run(factory)

    # Then the same trial has come to its end, and the version serves
    assert factory.events().count(("canary", "2")) == 1
    assert factory.served() == "2"
    assert factory.told() == [("deployed", "1"), ("promoted", "2")]


def test_a_deploy_killed_after_the_promotion_finds_its_work_done(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a step whose entry was written, and who never knew
    factory.version(DAY)
    with monkeypatch.context() as dying:
        dying.setattr("include.deployment.fleet.Fleet.settle", settle_once(killed_at=2))
        with pytest.raises(KilledError):
            run(factory)

    assert run(factory).facts["why"] == "the champion serves already"
    assert factory.told() == [("deployed", "1")]


def test_a_release_of_another_version_is_a_fault_while_its_conductor_lives(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given another conductor that keeps its version on trial
    factory.day()
    factory.version(DAY)
    run(factory)
    other = factory.version(DAY + timedelta(days=1))
    long = Plan(shadow_seconds=0, idle_seconds=600, watch_seconds=600)
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(factory.releases.roll_out, other.model_uri, other.sha256, "99", long)
        until(lambda: factory.releases.tail().event is ReleaseEvent.CANARY)

        # When the next night deploys, Then it is told to come again, and what is served stays
        with pytest.raises(FaultError, match="the release of version 99 is under way; try again"):
            run(factory)
        assert factory.served() == "1"

        # And once a person has rolled it back, the other one notices
        factory.releases.abort()
        with pytest.raises(OvertakenError, match="ended by another release"):
            trial.result(timeout=PATIENCE)


@pytest.mark.parametrize("event", [ReleaseEvent.ROLLED_BACK, ReleaseEvent.RESTORED])
def test_a_version_taken_out_is_not_deployed_again_though_the_registry_does_not_know_yet(
    factory: Factory, event: ReleaseEvent
) -> None:
    # Given a champion that was taken out of service while the registry was down
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))
    run(factory, DAY + timedelta(days=1))
    factory.releases.roll_back(event=event, why="it was bad")

    # When the next night deploys
    result = run(factory, DAY + timedelta(days=2))

    # Then it stays out, and the registry is told
    assert result.facts["deployed"] is False
    assert "champion version 2 was taken out of service" in result.facts["why"]
    assert factory.served() == "1"
    champion = factory.registry.champion()
    assert champion is not None
    assert champion.version == "1"
    assert {version.version: version.rejected for version in factory.registry.versions()} == {
        "1": None,
        "2": "it was bad",
    }


def test_without_any_server_the_champion_is_what_the_next_one_serves(factory: Factory) -> None:
    # Given no server at all
    factory.version(DAY)
    factory.server.stop()

    # When a night deploys, Then that is what a server serves as soon as it starts
    assert run(factory).facts["replicas"] == 0
    factory.server.start()
    until(lambda: factory.served() == "1")


def test_neither_postgresql_nor_a_server_is_asked(factory: Factory) -> None:
    factory.version(DAY)
    nowhere = f"http://127.0.0.1:{free_port()}"

    result = run(factory, database_url=None, serving_url=nowhere)

    assert result.facts["deployed"] is True
    assert factory.served() == "1"


def test_the_result_fits_a_termination_message(factory: Factory) -> None:
    factory.version(DAY)

    assert json.loads(run(factory).to_json())["facts"]["version"] == "1"
