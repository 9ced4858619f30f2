from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from include.deployment.deployments import Target
from include.deployment.reversal import put_into_service
from pydantic import SecretStr

from formats.rollout_plan import Plan
from include.database.tables import DeploymentReason, DeploymentState
from include.deployment.serving_api import RolloutOutcome, ServingApi
from include.errors import DataError, FaultError, SettingsError
from include.step import Context, Result
from include.steps.deploy import DeployArguments, deploy
from tests.factory import DAY, ROWS, USE_CASE, Factory
from tests.portable_files import portable_bytes
from tests.serving_process import free_port
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.stack


def run(factory: Factory, day: date = DAY, *, force: bool = False, **settings: Any) -> Result:
    context = factory.context
    changed = Context(context.settings.model_copy(update=settings), context.use_case, context.lake)
    return deploy(changed, DeployArguments(use_case=USE_CASE, date=day, force=force))


def test_the_first_champion_goes_into_service(factory: Factory) -> None:
    champion = factory.version(DAY)

    result = run(factory)

    assert result.facts == {"deployed": True, "version": champion.version, "before": None}
    served = factory.server.get("/v1/model", known=True).json()
    assert (served["version"], served["sha256"], served["uri"]) == (
        champion.version,
        champion.sha256,
        champion.model_uri,
    )
    assert served["trained_through"] == DAY.isoformat()
    assert factory.told() == [("1", "nightly", "serving")]


def test_the_next_champion_replaces_it(factory: Factory) -> None:
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))

    result = run(factory, DAY + timedelta(days=1))

    assert (result.facts["version"], result.facts["before"]) == ("2", "1")
    assert factory.served() == "2"
    assert factory.told() == [("1", "nightly", "replaced"), ("2", "nightly", "serving")]


def test_the_next_champion_proves_itself_first_and_the_history_tells_how(factory: Factory) -> None:
    # Given a version in service that nobody asks, and the day's features
    factory.day()
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))

    # When the next one is deployed
    clock = time.monotonic()
    result = run(factory, DAY)
    seconds = time.monotonic() - clock

    # Then it was compared on the day's rows, watched for a moment, and promoted
    shadow, canary = result.facts["rollout"]["shadow"], result.facts["rollout"]["canary"]
    assert shadow["rows"] == 2 * ROWS
    assert shadow["psi"] < 0.5
    assert canary == {"rows": 0, "share": 0.1}
    assert seconds < 15  # 1.5 s on a machine that is idle
    newest = factory.history.current()
    assert newest is not None
    assert newest.version == "2"
    assert newest.rollout is not None
    assert newest.rollout["phase"] == "promoted"
    assert newest.rollout["metrics"] == result.facts["rollout"]
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
    current = factory.history.current()
    assert current is not None
    assert (current.version, current.detail) == (older.version, "champion by hand in MLflow (Ada)")
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
    assert factory.told() == [("1", "nightly", "serving"), ("2", "nightly", "rejected")]
    noted = factory.history.all()[0]
    assert noted.rollout is not None
    assert noted.rollout["phase"] == "rolled_back"
    assert noted.ended_at is not None

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


def test_a_deploy_killed_in_mid_rollout_is_joined_by_its_retry(factory: Factory) -> None:
    # Given a deploy process that is killed while its version is on trial
    factory.day()
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))
    process = command(factory)
    while factory.server.rollout()["entry"]["version"] == "1" and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    begun = factory.server.rollout()["id"]

    # When it is tried again
    run(factory)

    # Then the same rollout has come to its end, and the history is whole
    assert factory.server.rollout()["id"] == begun
    assert factory.served() == "2"
    assert factory.told() == [
        ("1", "nightly", "replaced"),
        ("2", "nightly", "interrupted"),
        ("2", "nightly", "serving"),
    ]
    current = factory.history.current()
    assert current is not None
    assert current.rollout is not None
    assert current.rollout["phase"] == "promoted"


def test_a_server_that_dies_in_mid_rollout_is_a_fault_that_a_retry_heals(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a rollout under way, which does not end before the server does
    factory.day()
    factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))
    monkeypatch.setattr(factory.context.use_case.part("gates"), "ROLLOUT", Plan(idle_seconds=60), raising=False)
    begun, follow = threading.Event(), ServingApi._ended

    def ended(api: ServingApi, rollout: RolloutOutcome, seconds: float) -> RolloutOutcome:
        begun.set()
        return follow(api, rollout, seconds)

    monkeypatch.setattr(ServingApi, "_ended", ended)
    with ThreadPoolExecutor(1) as pool:
        deploying = pool.submit(run, factory)
        assert begun.wait(PATIENCE)

        # When the server is killed, and started again
        factory.server.stop(signal.SIGKILL)
        factory.server.start()

        # Then the task fails in a way that is tried again, the old version serves, and the retry succeeds
        with pytest.raises(FaultError, match="the rollout of version 2 was cut short: its worker ended in mid-rollout"):
            deploying.result(timeout=PATIENCE)
    monkeypatch.undo()
    assert factory.served() == "1"
    assert run(factory).facts["version"] == "2"
    assert factory.told() == [
        ("1", "nightly", "replaced"),
        ("2", "nightly", "interrupted"),
        ("2", "nightly", "serving"),
    ]


def test_a_rollout_of_another_version_is_a_fault_that_a_retry_heals(factory: Factory) -> None:
    factory.day()
    factory.version(DAY)
    run(factory)
    other = factory.version(DAY + timedelta(days=1))
    factory.server.deploy(other.model_uri, other.sha256, "99", rollout={"idle_seconds": 60, "watch_seconds": 60})

    with pytest.raises(FaultError, match="is busy with the rollout of version 99"):
        run(factory)

    assert factory.served() == "1"


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
    assert factory.told() == [("1", "nightly", "serving")]


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
    assert factory.told() == [("1", "nightly", "serving"), ("2", "nightly", "refused")]


def test_a_model_that_fails_its_self_test_is_refused(factory: Factory) -> None:
    factory.version(DAY, content=portable_bytes(output="Identity", bias=float("nan")))

    with pytest.raises(DataError, match=r"version 1 is not deployed, nothing is in service: .* self-test failed"):
        run(factory)

    assert factory.served() is None
    assert factory.told() == [("1", "nightly", "refused")]


def test_a_try_that_was_killed_after_the_swap_is_finished_by_the_next(factory: Factory) -> None:
    # Given a step that was killed when the server had swapped, and the history did not know yet
    champion = factory.version(DAY)
    target = Target(champion.version, champion.model_uri, champion.sha256, champion.trained_through)
    factory.history.begin(target, DeploymentReason.NIGHTLY)
    ServingApi.open(factory.settings, "flight_delay").deploy(target)

    # When it is tried again
    result = run(factory)

    # Then the history is whole
    assert result.facts["why"] == "the champion serves already"
    assert factory.told() == [("1", "nightly", "interrupted"), ("1", "nightly", "serving")]


def test_a_deploy_killed_under_way_is_finished_by_its_retry(factory: Factory) -> None:
    # Given a deploy process that is killed as soon as it has noted what it is about to do
    factory.version(DAY)
    process = command(factory)
    while not factory.told() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()

    # When it is tried again
    retry = command(factory)
    out, _ = retry.communicate(timeout=PATIENCE)

    # Then the champion serves, and the history has one deployment in service
    assert retry.returncode == 0, out
    assert factory.served() == "1"
    assert [state for *_, state in factory.told()].count("serving") == 1


def test_two_deploys_at_once_are_one(factory: Factory) -> None:
    factory.version(DAY)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: run(factory), range(2)))

    assert sorted(result.facts["deployed"] for result in results) == [False, True]
    assert factory.told() == [("1", "nightly", "serving")]


@pytest.mark.parametrize("state", [DeploymentState.ROLLED_BACK, DeploymentState.FAILED, DeploymentState.REJECTED])
def test_a_version_taken_out_is_not_deployed_again_though_the_registry_does_not_know_yet(
    factory: Factory, state: DeploymentState
) -> None:
    # Given a champion that was taken out of service while the registry was down
    first = factory.version(DAY)
    run(factory)
    factory.version(DAY + timedelta(days=1))
    run(factory, DAY + timedelta(days=1))
    api = ServingApi.open(factory.settings, "flight_delay")
    back = Target(first.version, first.model_uri, first.sha256, first.trained_through)
    put_into_service(api, factory.history, back, DeploymentReason.ROLLBACK, ended=state, detail="it was bad")

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


def test_a_server_that_is_down_is_one_line_after_bounded_retries(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.deployment.serving_api.PAUSE_SECONDS", 0.01)
    factory.version(DAY)
    factory.server.stop(signal.SIGKILL)

    with pytest.raises(FaultError, match=r"serving at http://127\.0\.0\.1:\d+ does not answer \(4 tries\): .*make up"):
        run(factory)

    assert factory.told() == []


def test_a_server_that_comes_back_in_time_is_waited_for(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    factory.version(DAY)
    factory.server.stop()
    monkeypatch.setattr("include.deployment.serving_api.time", SimpleNamespace(sleep=lambda _: factory.server.start()))

    assert run(factory).facts["deployed"] is True


def test_a_database_that_is_down_leaves_what_is_served(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.database.tables.PAUSE_SECONDS", 0.01)
    factory.version(DAY)
    down = SecretStr(f"postgresql://u:secret@127.0.0.1:{free_port()}/nightshift")

    with pytest.raises(FaultError, match=r"PostgreSQL at .* does not answer \(4 tries\)") as fault:
        run(factory, database_url=down)

    assert "secret" not in str(fault.value)
    assert factory.served() is None


def test_a_wrong_token_is_a_setting_to_correct(factory: Factory) -> None:
    factory.version(DAY)

    with pytest.raises(
        SettingsError, match=r"answered 401: wrong or missing bearer token.*; see NIGHTSHIFT_SERVING_TOKEN"
    ):
        run(factory, serving_token=SecretStr("wrong"))

    assert factory.served() is None


def test_a_server_of_another_use_case_is_left_alone(factory: Factory) -> None:
    uri = factory.lake.put("other.onnx", other := portable_bytes(use_case="other"))
    factory.server.deploy(uri, hashlib.sha256(other).hexdigest(), "1", use_case="other")
    factory.version(DAY)

    with pytest.raises(SettingsError, match="serves use case 'other'; start another server for 'flight_delay'"):
        run(factory)


def command(factory: Factory) -> subprocess.Popen[str]:
    """The step as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "include.steps.deploy", "--use-case", USE_CASE, "--date", DAY.isoformat()],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **factory.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_result_fits_a_termination_message(factory: Factory) -> None:
    factory.version(DAY)

    assert json.loads(run(factory).to_json())["uris"]["serving"] == factory.server.url
