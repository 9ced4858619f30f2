from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from formats.release import ReleaseEvent
from include.deployment.conductor import RejectedError
from include.deployment.writer import OvertakenError, ReleaseWriter, Tail
from include.errors import FaultError, SettingsError
from include.model_registry.versions import Version
from include.step import Context
from include.steps.deploy import DeployArguments, deploy
from include.steps.rollback import RollbackArguments, rollback
from tests.factory import DAY, USE_CASE, Factory
from tests.portable_files import portable_bytes
from tests.serving_process import free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.stack


def run(factory: Factory, version: str = "") -> str:
    """Roll back; the version that serves then."""
    result = rollback(factory.context, RollbackArguments(use_case=USE_CASE, date=DAY, version=version))
    assert factory.served() == result.facts["version"]
    return str(result.facts["version"])


def nights(factory: Factory, count: int) -> list[Version]:
    """That many nights, each with a new champion that serves well."""
    versions = []
    for number in range(count):
        day = DAY + timedelta(days=number)
        versions.append(factory.version(day))
        deploy(factory.context, DeployArguments(use_case=USE_CASE, date=day))
    return versions


def test_the_previously_served_version_is_put_back(factory: Factory) -> None:
    nights(factory, 3)

    result = rollback(factory.context, RollbackArguments(use_case=USE_CASE, date=DAY))

    assert factory.served() == "2"
    assert (result.facts["version"], result.facts["instead_of"]) == ("2", "3")
    assert factory.told()[-2:] == [("promoted", "3"), ("rolled_back", "2")]


def test_the_version_that_leaves_is_rejected_and_the_one_put_back_is_champion(factory: Factory) -> None:
    nights(factory, 2)

    run(factory)

    champion = factory.registry.champion()
    newest = factory.registry.newest_before(DAY + timedelta(days=9))
    assert champion is not None
    assert newest is not None
    assert (champion.version, newest.version) == ("1", "1")
    assert factory.registry.versions()[-1].rejected == "rolled back to version 1 (by hand)"


def test_after_a_rollback_a_night_without_promotion_changes_nothing_and_one_with_it_goes_on(factory: Factory) -> None:
    nights(factory, 2)
    run(factory)

    tonight = DeployArguments(use_case=USE_CASE, date=DAY + timedelta(days=2))
    deploy(factory.context, tonight)
    after_nothing = factory.served()
    factory.version(DAY + timedelta(days=2))
    deploy(factory.context, tonight)

    assert (after_nothing, factory.served()) == ("1", "3")


def test_a_second_rollback_goes_one_further_back_and_the_last_says_there_is_no_more(factory: Factory) -> None:
    nights(factory, 3)

    assert [run(factory), run(factory)] == ["2", "1"]
    with pytest.raises(SettingsError, match=r"there is nothing to go back to.*served so far: 1, 2, 3"):
        run(factory)
    assert factory.served() == "1"


def test_a_named_version_is_put_back_even_forward(factory: Factory) -> None:
    nights(factory, 3)

    assert run(factory, "1") == "1"
    assert run(factory, "3") == "3"

    champion = factory.registry.champion()
    assert champion is not None
    assert (champion.version, champion.approved, champion.rejected) == ("3", True, None)


@pytest.mark.parametrize(
    ("version", "says"), [("3", "never served flight_delay; served so far: 1, 2"), ("2", "already")]
)
def test_a_version_that_cannot_be_put_back_is_refused(factory: Factory, version: str, says: str) -> None:
    nights(factory, 2)

    with pytest.raises(SettingsError, match=says):
        run(factory, version)

    assert factory.served() == "2"


def test_a_retry_of_the_same_task_does_not_go_back_twice(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a rollback task whose first try swapped, and died before it told the registry
    nights(factory, 3)
    monkeypatch.setenv("NIGHTSHIFT_RUN", "flight_delay_rollback/manual__1/rollback")
    with monkeypatch.context() as dying:
        dying.setattr("include.steps.rollback.tell_registry", lambda *_, **__: sys.exit(137))
        with pytest.raises(SystemExit):
            run(factory)
    assert factory.served() == "2"

    # When it is tried again
    put_back = run(factory)

    # Then it went back once, and the registry knows
    assert put_back == "2"
    assert factory.registry.versions()[-1].rejected is not None
    # ... and another run goes back once more
    monkeypatch.setenv("NIGHTSHIFT_RUN", "flight_delay_rollback/manual__2/rollback")
    assert run(factory) == "1"


def test_a_model_file_that_is_gone_leaves_what_is_served(factory: Factory) -> None:
    # Given a version whose file is gone, and servers that do not keep it, as it served two versions ago
    first, *_ = nights(factory, 3)
    factory.lake.store.delete(f"flight_delay/models/{first.sha256}.onnx")
    settings = factory.settings.model_copy(update={"release_seconds": 1.0})
    context = Context(settings, factory.context.use_case, factory.lake)

    # When it is to be put back, Then that fails in one line, and nothing changes
    with pytest.raises(FaultError, match=r"0 of 1 replicas are ready .*version 1 cannot be loaded: .*no such file"):
        rollback(context, RollbackArguments(use_case=USE_CASE, date=DAY, version="1"))

    assert factory.served() == "3"


def test_the_version_before_is_put_back_though_its_file_is_gone(factory: Factory) -> None:
    first, _ = nights(factory, 2)
    factory.lake.store.delete(f"flight_delay/models/{first.sha256}.onnx")

    assert run(factory) == "1"


def test_neither_postgresql_nor_mlflow_is_needed(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.model_registry.tracking.PAUSE_SECONDS", 0.01)
    nights(factory, 2)
    nowhere = SecretStr(f"http://127.0.0.1:{free_port()}")
    settings = factory.settings.model_copy(update={"database_url": None, "tracking_url": nowhere})

    rollback(Context(settings, factory.context.use_case, factory.lake), RollbackArguments(use_case=USE_CASE, date=DAY))

    assert factory.served() == "1"


def test_a_promotion_that_comes_in_between_is_rolled_back_too(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a person's rollback, and a version that is promoted just before its first entry
    nights(factory, 2)
    third = factory.version(DAY + timedelta(days=2))
    append, calls = ReleaseWriter.append, []

    def overtaken(writer: ReleaseWriter, *given: Any, **noted: Any) -> Tail:
        calls.append(given)
        if len(calls) == 1:
            monkeypatch.setattr(ReleaseWriter, "append", append)
            factory.releases.deploy(third.model_uri, third.sha256, third.version)
        return append(writer, *given, **noted)

    monkeypatch.setattr(ReleaseWriter, "append", overtaken)

    # When it judges again, Then it is that version which leaves, and the one before it serves
    assert run(factory) == "2"
    assert [one.entry.version for one in factory.releases.tail().taken_out] == ["3"]


def test_a_registry_that_is_down_does_not_stop_a_rollback(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an MLflow that does not answer
    monkeypatch.setattr("include.model_registry.tracking.PAUSE_SECONDS", 0.01)
    nights(factory, 2)
    down = SecretStr(f"http://127.0.0.1:{free_port()}")
    settings = factory.settings.model_copy(update={"tracking_url": down})
    context = Context(settings, factory.context.use_case, factory.lake)

    # When the service is rolled back
    result = rollback(context, RollbackArguments(use_case=USE_CASE, date=DAY))

    # Then it is, the result says that the registry is behind, and the next deploy tells it
    assert factory.served() == "1"
    assert result.facts["registry"].startswith("not told yet, the next deploy will: MLflow at http://127.0.0.1")
    deploy(factory.context, DeployArguments(use_case=USE_CASE, date=DAY + timedelta(days=2)))
    champion = factory.registry.champion()
    assert champion is not None
    assert (champion.version, factory.served()) == ("1", "1")


def test_nothing_to_roll_back_to_is_one_line_and_exit_78(factory: Factory) -> None:
    ended = command(factory)

    assert ended.returncode == 78
    assert ended.stdout.strip() == (
        "rollback: there is nothing to go back to: no other version of flight_delay served well before "
        "(nothing was served so far)"
    )


def test_the_command_puts_it_back_and_says_which(factory: Factory, tmp_path: Path) -> None:
    nights(factory, 2)
    message = tmp_path / "message"

    ended = command(factory, NIGHTSHIFT_TERMINATION_LOG=str(message))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "rollback: version 1 is in service again, instead of version 2" in ended.stdout
    assert json.loads(message.read_text())["facts"]["version"] == "1"
    assert factory.served() == "1"


def test_a_version_that_is_no_number_is_refused(factory: Factory) -> None:
    ended = command(factory, "--version", "latest")

    assert ended.returncode == 78
    assert "--version 'latest'" in ended.stdout


def test_the_swap_needs_neither_mlflow_nor_pandas(factory: Factory) -> None:
    script = """
import sys
import include.steps.rollback
print(*sorted({"mlflow", "pandas", "sqlalchemy", "sklearn"} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == ""


def command(factory: Factory, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The step as a process."""
    return subprocess.run(
        [sys.executable, "-m", "include.steps.rollback", "--use-case", USE_CASE, "--date", "2013-10-01", *options],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **factory.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_version_that_its_rollout_rejected_can_be_put_into_service_by_name(factory: Factory) -> None:
    # Given a version that did not hold its limits, and a person who knows better
    factory.day()
    nights(factory, 1)
    factory.version(DAY + timedelta(days=1), content=portable_bytes(weights=(0.0, 0.0, 0.0)))
    with pytest.raises(RejectedError):
        deploy(factory.context, DeployArguments(use_case=USE_CASE, date=DAY))

    # When it is named, Then it serves, at once, and counts as good again
    assert run(factory, "2") == "2"
    assert [version.rejected for version in factory.registry.versions()][-1] is None


def test_a_rollback_ends_a_trial_that_is_under_way(factory: Factory) -> None:
    # Given a version on trial
    factory.day()
    nights(factory, 2)
    third = factory.version(DAY + timedelta(days=2))
    long = {"shadow_seconds": 0, "idle_seconds": 600, "watch_seconds": 600}
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(factory.releases.roll_out, third.model_uri, third.sha256, third.version, long)
        until(lambda: factory.releases.tail().event is ReleaseEvent.CANARY)

        # When a person rolls back, Then the previous version serves at once, and the trial's conductor gives up
        assert run(factory) == "1"
        with pytest.raises(OvertakenError):
            trial.result(timeout=PATIENCE)
    assert factory.releases.tail().trial is None
