from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.processes import roster
from tests.portable_files import portable_bytes, write
from tests.serving.callers import Callers
from tests.serving_process import TOKEN, ServingProcess
from tests.waiting import PATIENCE, until

ROWS: list[dict[str, Any]] = [
    {"distance": number / 10 - 2.5, "hour": number % 24, "carrier": ("AA", "B6", "UA")[number % 3]}
    for number in range(60)
]
# Sixty rows are soon compared; a machine that is busy is not taken for a slow model.
PLAN: dict[str, Any] = {"shadow_rows": 50, "watch_seconds": 1.5, "idle_seconds": 0.3, "share": 0.5}
# A busy machine is neither slow nor idle.
PATIENT: dict[str, Any] = {"limits": {"slower_seconds": 5}, "idle_seconds": 10}


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Writes a model file; its address and hash."""
    return lambda **content: write(tmp_path, portable_bytes(**content))


Models = Callable[..., tuple[str, str]]


def events(server: ServingProcess) -> list[tuple[str, str]]:
    """What happened, newest first: event and version."""
    found = server.get("/v1/deployments").raise_for_status().json()["deployments"]
    return [(one["event"], one["version"]) for one in found]


def test_the_first_version_serves_at_once_though_a_rollout_was_asked_for(
    serving: ServingProcess, models: Models
) -> None:
    answer = serving.deploy(*models(), "7", rollout=PLAN, by="a night")

    assert (answer.status_code, answer.json()["version"]) == (200, "7")
    assert serving.get("/v1/model").json()["by"] == "a night"
    assert events(serving)[0] == ("deployed", "7")


def test_a_good_version_is_promoted_on_sample_rows_and_the_history_tells(ready: ServingProcess, models: Models) -> None:
    begun = ready.deploy(*models(bias=0.2), "8", rollout=PLAN, rows=ROWS, by="a night")
    ended = ready.ended()

    assert (begun.status_code, begun.json()["id"]) == (202, ended["id"])
    assert (ended["phase"], ended["entry"]["version"], ended["instead_of"]) == ("promoted", "8", "7")
    assert ended["metrics"]["shadow"]["rows"] >= 50
    assert ready.get("/v1/model").json()["version"] == "8"
    newest = ready.get(
        "/v1/deployments",
    ).json()["deployments"][0]
    assert (newest["event"], newest["by"], newest["instead_of"]) == ("promoted", "a night", "7")
    assert newest["metrics"] == ended["metrics"]
    assert ready.get("/v1/deployments/current").json()["serving"]["version"] == "8"


def test_the_history_can_be_asked_for_its_newest_events(ready: ServingProcess, models: Models) -> None:
    ready.deploy(*models(bias=0.2), "8")

    newest = ready.get("/v1/deployments?limit=1").json()["deployments"]

    assert [(one["event"], one["version"]) for one in newest] == [("deployed", "8")]
    assert ready.get("/v1/deployments?limit=0").status_code == 422


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"bias": 40.0}, "shadow: its answers are distributed differently"),
        ({"weights": (0.0, 0.0, 0.0), "bias": 0.6}, "it hardly tells rows apart"),
        ({"output": "Identity", "weights": (0.3, 0.0, 0.0)}, "answers failed"),
    ],
)
def test_a_wrong_version_never_answers_anybody(
    ready: ServingProcess, models: Models, wrong: dict[str, Any], says: str
) -> None:
    # Given people who ask, when a version comes that would answer them otherwise
    with Callers([ready.url], ROWS) as callers:
        until(lambda: callers.answers > 20)
        assert ready.deploy(*models(**wrong), "8", rollout=PLAN | PATIENT).status_code == 202
        ended = ready.ended()

    # Then it is rolled back in the shadow, by what they had asked, and nobody noticed
    assert ended["phase"] == "rolled_back"
    assert says in ended["reason"]
    assert ended["metrics"]["shadow"]["rows"] > 0 or "failed" in says
    assert (set(callers.versions), callers.failed) == ({"7"}, [])
    assert events(ready)[0] == ("rolled_back", "8")
    assert ready.get("/v1/model").json()["version"] == "7"


def test_a_canary_answers_its_share_and_each_caller_is_on_one_side(ready: ServingProcess, models: Models) -> None:
    # Given people who ask, and a good version with a quarter of them
    with Callers([ready.url], ROWS[:3]) as callers:
        until(lambda: callers.answers > 20)
        ready.deploy(*models(bias=0.2), "8", rollout=PLAN | PATIENT | {"share": 0.25, "watch_seconds": 60})
        until(lambda: ready.rollout()["phase"] == "canary")
        callers.forget()
        # What was asked before the split is answered by now.
        until(lambda: callers.answers > 100)
        callers.forget()
        until(lambda: callers.answers > 600)
        sides, versions = callers.seen()
        # The watch is over when a person says so.
        ready.deploy(*models(), "7")

    # Then about a quarter was answered by it, and nobody by both
    share = versions["8"] / (versions["7"] + versions["8"])
    assert 0.05 < share < 0.55
    assert [side for side in sides.values() if len(side) > 1] == []
    assert callers.failed == []


def test_a_good_canary_is_promoted_under_load_without_a_failed_request(ready: ServingProcess, models: Models) -> None:
    with Callers([ready.url], ROWS[:3]) as callers:
        until(lambda: callers.answers > 20)
        ready.deploy(*models(bias=0.2), "8", rollout=PLAN | PATIENT)
        ended = ready.ended()
        until(lambda: callers.versions["8"] > 50)

    assert (ended["phase"], ended["reason"]) == ("promoted", "")
    assert callers.failed == []
    seen = ended["metrics"]["canary"]
    assert seen["trial_requests"] > 0
    assert seen["proven_requests"] > 0
    assert ended["metrics"]["canary_same_rows"]["rows"] > 0


def test_where_a_canary_fails_the_old_version_answers_and_the_canary_goes(
    ready: ServingProcess, models: Models
) -> None:
    # Given a version that does well on sample rows, but has no probability for a far flight
    model = models(output="Identity", weights=(0.01, 0.0, 0.0), bias=0.6)
    loose = PATIENT["limits"] | {"psi": 100, "mean_shift": 1, "spread": 0}
    plan = PLAN | {"idle_seconds": 20, "share": 1.0, "limits": loose}
    ready.deploy(*model, "8", rollout=plan, rows=ROWS)
    until(lambda: ready.rollout()["phase"] == "canary")

    # When someone asks for one
    answer = ready.predict([{"distance": 5000, "hour": 1, "carrier": "AA"}])

    # Then the old version answers, and the new one is rolled back for it
    assert (answer.status_code, answer.json()["model_version"]) == (200, "7")
    ended = ready.ended()
    assert (ended["phase"], ended["reason"]) == ("rolled_back", "canary: 1 of 1 answers failed, at most 1.0% may")
    assert ready.predict(ROWS[:1]).json()["model_version"] == "7"


def test_a_request_that_is_wrong_itself_is_no_failure_of_the_canary(ready: ServingProcess, models: Models) -> None:
    ready.deploy(*models(bias=0.2), "8", rollout=PLAN | {"idle_seconds": 1.5, "share": 1.0}, rows=ROWS)
    until(lambda: ready.rollout()["phase"] == "canary")

    answer = ready.predict([{"distance": "far", "hour": 1, "carrier": "AA"}])

    assert answer.status_code == 422
    assert ready.ended()["phase"] == "promoted"


def test_a_version_with_other_inputs_has_no_canary(ready: ServingProcess, models: Models) -> None:
    numbers: dict[str, Any] = {"kind": "number", "categories": []}
    inputs = [numbers | {"name": name} for name in ("distance", "hour", "wind")]
    rows = [row | {"wind": 1.0} for row in ROWS]
    ready.deploy(*models(inputs=inputs), "8", rollout=PLAN | PATIENT, rows=rows)

    ended = ready.ended()

    assert (ended["phase"], ended["metrics"]["shadow"]["rows"]) == ("promoted", len(rows))
    assert ended["reason"] == "no canary: it takes other inputs than the version before it"


def test_a_bad_file_is_refused_before_any_rollout(ready: ServingProcess, models: Models) -> None:
    uri, _ = models(bias=0.2)

    answer = ready.deploy(uri, "0" * 64, "8", rollout=PLAN)

    assert answer.status_code == 422
    assert ready.get("/v1/model").json()["version"] == "7"
    assert events(ready)[0] == ("deployed", "7")


def test_during_a_rollout_another_is_refused_the_same_joins_and_a_person_overrules(
    ready: ServingProcess, models: Models
) -> None:
    # Given a rollout under way
    waits = PLAN | {"idle_seconds": 60, "watch_seconds": 60}
    eight = models(bias=0.2)
    begun = ready.deploy(*eight, "8", rollout=waits, rows=ROWS).json()

    # When another rollout is asked for, it is refused; the same one joins
    other = ready.deploy(*models(bias=0.3), "9", rollout=waits)
    same = ready.deploy(*eight, "8", rollout=waits)
    assert (other.status_code, same.status_code, same.json()["id"]) == (409, 202, begun["id"])
    assert other.json()["detail"].startswith("a rollout of version 8 is under way")

    # When a version is deployed at once, Then it serves, and the rollout is over
    clock = time.monotonic()
    at_once = ready.deploy(*models(bias=0.4), "10")
    assert time.monotonic() - clock < 5
    assert at_once.status_code == 200
    assert ready.get("/v1/model").json()["version"] == "10"
    ended = next(one for one in ready.get("/v1/deployments").json()["deployments"] if one["version"] == "8")
    assert (ended["event"], ended["reason"]) == ("aborted", "version 10 was put into service at once")


def test_what_serves_can_be_confirmed_against_a_rollout(ready: ServingProcess, models: Models) -> None:
    ready.deploy(*models(bias=0.2), "8", rollout=PLAN | {"idle_seconds": 60, "watch_seconds": 60}, rows=ROWS)

    assert ready.deploy(*models(), "7").json()["version"] == "7"

    assert ready.rollout()["phase"] == "aborted"
    assert ready.get("/v1/model").json()["version"] == "7"


def test_a_withdrawal_ends_a_rollout(ready: ServingProcess, models: Models) -> None:
    ready.deploy(*models(bias=0.2), "8", rollout=PLAN | {"idle_seconds": 60, "watch_seconds": 60}, rows=ROWS)

    httpx.delete(f"{ready.url}/admin/deployments", headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status()

    assert ready.get("/readyz").status_code == 503
    assert ready.rollout()["phase"] == "aborted"
    assert events(ready)[:2] == [("withdrawn", "7"), ("aborted", "8")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_in_mid_rollout_serves_the_old_version_when_it_starts_again(
    ready: ServingProcess, models: Models, how: signal.Signals
) -> None:
    # Given a canary under way
    ready.deploy(*models(bias=0.2), "8", rollout=PLAN | {"idle_seconds": 60, "watch_seconds": 60}, rows=ROWS)
    until(lambda: ready.rollout()["phase"] == "canary")

    # When the server ends and starts again
    ready.stop(how)
    ready.start()

    # Then the old version serves, the rollout counts as cut short, and the version can be deployed again
    assert ready.get("/v1/model").json()["version"] == "7"
    assert ready.rollout()["phase"] == "aborted"
    assert ready.rollout()["reason"].startswith(
        "its worker was stopped" if how is signal.SIGTERM else "its worker ended in mid-rollout"
    )
    assert events(ready)[0] == ("aborted", "8")
    ready.deploy(*models(bias=0.2), "8", rollout=PLAN, rows=ROWS)
    assert ready.ended()["phase"] == "promoted"


def test_where_the_served_file_is_gone_the_next_version_serves_at_once(ready: ServingProcess, models: Models) -> None:
    # Given a server that cannot load again what it served
    uri, sha256 = models()
    ready.stop()
    Path(uri.removeprefix("file://")).unlink()
    ready.start()
    assert ready.get("/readyz").status_code == 503

    # When that file is back, or another version is rolled out, Then it serves at once: there is nothing to compare with
    assert models() == (uri, sha256)
    again = ready.deploy(uri, sha256, "7", rollout=PLAN)
    assert (again.status_code, ready.get("/readyz").status_code) == (200, 200)


def test_versions_are_swapped_under_load_without_a_failed_request(ready: ServingProcess, models: Models) -> None:
    with Callers([ready.url], ROWS[:3]) as callers:
        for version in range(8, 20):
            before = callers.answers
            until(lambda before=before: callers.answers > before + 20)  # type: ignore[misc]
            assert ready.deploy(*models(bias=version / 50), str(version)).status_code == 200
        until(lambda: callers.versions["19"] > 20)

    assert callers.failed == []
    assert len(callers.versions) > 5


# Several workers of one server: processes that share a state folder


@pytest.fixture
def second(ready: ServingProcess) -> Iterator[ServingProcess]:
    """Another worker of the server that serves version 7."""
    worker = ServingProcess(ready.state).start()
    until(lambda: worker.get("/readyz").status_code == 200)
    yield worker
    worker.stop(signal.SIGKILL)


def test_a_deployment_is_answered_when_every_worker_serves_it(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    for version, server in (("8", ready), ("9", second), ("10", ready)):
        assert server.deploy(*models(bias=int(version) / 50), version).status_code == 200

        assert [one.get("/v1/model").json()["version"] for one in (ready, second)] == [version, version]
        assert [one.predict(ROWS[:1]).json()["model_version"] for one in (ready, second)] == [version, version]


def test_a_rollout_counts_what_every_worker_sees(ready: ServingProcess, second: ServingProcess, models: Models) -> None:
    # Given people who ask only the worker that does not drive the rollout
    with Callers([second.url], ROWS[:3]) as callers:
        until(lambda: callers.answers > 20)
        ready.deploy(*models(bias=0.2), "8", rollout=PLAN | PATIENT)
        ended = ready.ended()

    assert ended["phase"] == "promoted"
    assert ended["metrics"]["shadow"]["rows"] >= 50
    assert ended["metrics"]["canary"]["trial_requests"] > 0
    assert callers.failed == []
    assert second.get("/v1/model").json()["version"] == "8"
    assert second.rollout() == ready.rollout()


def test_when_the_worker_that_drives_a_rollout_is_killed_another_ends_it(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    second.deploy(*models(bias=0.2), "8", rollout=PLAN | {"idle_seconds": 60, "watch_seconds": 60}, rows=ROWS)
    until(lambda: second.rollout()["phase"] == "canary")

    second.stop(signal.SIGKILL)

    assert ready.ended()["phase"] == "aborted"
    assert ready.predict(ROWS[:1]).json()["model_version"] == "7"


def test_a_worker_that_joins_in_mid_rollout_takes_part(
    ready: ServingProcess, models: Models, second: ServingProcess
) -> None:
    second.stop()
    whole = PLAN | {"idle_seconds": 60, "watch_seconds": 60, "share": 1.0}
    ready.deploy(*models(bias=0.2), "8", rollout=whole, rows=ROWS)
    until(lambda: ready.rollout()["phase"] == "canary")

    second.start()

    until(lambda: second.predict(ROWS[:1]).json()["model_version"] == "8")
    assert second.get("/v1/model").json()["version"] == "7"


@pytest.mark.stack
def test_a_worker_that_hangs_is_named_and_what_was_served_is_served_still(tmp_path: Path, models: Models) -> None:
    # Given two workers, of which one stands still
    first = ServingProcess(tmp_path / "state", SERVING_ACKNOWLEDGE_SECONDS="1").start()
    second = ServingProcess(first.state).start()
    try:
        first.deploy(*models(), "7")
        assert second.process is not None
        os.kill(second.process.pid, signal.SIGSTOP)

        # When a version is deployed, Then that is said, and nothing has changed
        answer = first.deploy(*models(bias=0.2), "8")
        assert answer.status_code == 503
        assert f"worker process {second.process.pid} did not take over the change within 1 s" in answer.json()["detail"]
        assert first.predict(ROWS[:1]).json()["model_version"] == "7"

        # And when it goes on, the next deployment succeeds
        os.kill(second.process.pid, signal.SIGCONT)
        until(lambda: first.deploy(*models(bias=0.2), "8").status_code == 200)
        assert second.predict(ROWS[:1]).json()["model_version"] == "8"
    finally:
        for server in (second, first):
            server.stop(signal.SIGKILL)


def test_a_version_that_one_worker_cannot_load_serves_nowhere(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    # Given a worker that stands still while its colleague loads a file that is gone soon after
    uri, sha256 = models(bias=0.2)
    assert second.process is not None
    os.kill(second.process.pid, signal.SIGSTOP)
    try:
        with httpx.Client(timeout=PATIENCE) as client:
            body = {"model_uri": uri, "sha256": sha256, "version": "8", "use_case": "flight_delay"}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            said: list[httpx.Response] = []
            url = f"{ready.url}/admin/deployments"
            thread = threading.Thread(target=lambda: said.append(client.post(url, json=body, headers=headers)))
            thread.start()
            until(lambda: ready.rollout()["entry"]["version"] == "8")
            Path(uri.removeprefix("file://")).unlink()
            os.kill(second.process.pid, signal.SIGCONT)
            thread.join()
    finally:
        os.kill(second.process.pid, signal.SIGCONT)

    # Then it is refused in one line, and both serve on what they served
    assert (said[0].status_code, said[0].json()["detail"].startswith("a worker cannot load it: file://")) == (424, True)
    assert [one.predict(ROWS[:1]).json()["model_version"] for one in (ready, second)] == ["7", "7"]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[ServingProcess]:
    """A server of three workers on one port, started as a person would."""
    server = ServingProcess(tmp_path / "three", SERVING_WORKERS="3").start()
    yield server
    server.stop()


def test_three_workers_on_one_port_make_a_rollout_together(three: ServingProcess, models: Models) -> None:
    # Given a server whose workers all serve version 7, and people who ask
    assert three.deploy(*models(), "7").status_code == 200
    assert {three.predict(ROWS[:1]).json()["model_version"] for _ in range(30)} == {"7"}
    with Callers([three.url], ROWS[:3], threads=6) as callers:
        until(lambda: callers.answers > 60)

        # When the next version is rolled out
        three.deploy(*models(bias=0.2), "8", rollout=PLAN | PATIENT)
        ended = three.ended()

    # Then it is promoted in all of them at once, and nobody noticed
    assert (ended["phase"], callers.failed) == ("promoted", [])
    assert ended["metrics"]["canary"]["trial_requests"] > 0
    assert {three.predict(ROWS[:1]).json()["model_version"] for _ in range(30)} == {"8"}


def test_a_worker_that_dies_in_mid_rollout_is_replaced_and_the_rollout_goes_on(
    three: ServingProcess, models: Models
) -> None:
    three.deploy(*models(), "7")
    three.deploy(*models(bias=0.2), "8", rollout=PLAN | {"idle_seconds": 3}, rows=ROWS)
    until(lambda: three.rollout()["phase"] == "canary")
    leader = int(three.rollout()["worker"].partition("-")[0])
    victim = next(pid for pid in sorted(roster.live(three.state)) if pid != leader)

    os.kill(victim, signal.SIGKILL)

    # The one that drives the rollout lives, so the rollout goes on with whoever is left.
    assert three.ended()["phase"] == "promoted"
    until(lambda: len(roster.live(three.state)) == 3)
    assert {three.predict(ROWS[:1]).json()["model_version"] for _ in range(30)} == {"8"}
