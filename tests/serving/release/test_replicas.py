"""Real servers that follow one log, while people ask: nobody notices a release, whoever dies in the middle of it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from formats.release import OnTrial, ReleaseEvent
from formats.replica_report import ReplicaReport
from formats.rollout_plan import Phase, Plan
from include.deployment.conductor import RejectedError
from include.deployment.fleet import RefusedError
from tests.portable_files import portable_bytes, write
from tests.releases import USE_CASE, ReleasesFolder, entry
from tests.serving.callers import Callers
from tests.serving_process import ServingProcess
from tests.waiting import until

ROWS: list[dict[str, Any]] = [
    {"distance": number / 10 - 2.5, "hour": number % 24, "carrier": ("AA", "B6", "UA")[number % 3]}
    for number in range(60)
]
# Sixty rows are soon compared; a busy machine is neither slow nor idle.
PLAN: dict[str, Any] = {
    "shadow_rows": 50,
    "watch_seconds": 1.5,
    "idle_seconds": 10,
    "share": 0.5,
    "limits": {"slower_seconds": 5},
}

Models = Callable[..., tuple[str, str]]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """Writes a model file; its address and hash."""
    return lambda **content: write(tmp_path, portable_bytes(**content))


@contextmanager
def conducted(releases: ReleasesFolder, uri: str, sha256: str, version: str, share: float) -> Iterator[None]:
    """A canary under way, whose conductor lives as long as the block."""
    writer = releases.writer()
    tail = writer.tail()
    new = entry(uri, sha256, version)
    trial = OnTrial(id=f"trial of {version}", entry=new, plan=Plan(), phase=Phase.CANARY, share=share)
    writer.append(tail, ReleaseEvent.CANARY, version, tail.release.model_copy(update={"trial": trial}))
    pulse, over = releases.conductor().pulse, threading.Event()

    def beat() -> None:
        while not over.wait(0.05):
            pulse.beat(now=True)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def on_trial(server: ServingProcess, sha256: str) -> list[ReplicaReport]:
    """The replicas that take part in the trial of a file."""
    return [report for report in server.reports() if report.on_trial == sha256]


def test_a_good_version_is_promoted_under_load_and_nobody_notices(ready: ServingProcess, models: Models) -> None:
    with Callers([ready.url], ROWS[:3]) as callers:
        until(lambda: callers.answers > 20)
        ended = ready.releases.roll_out(*models(bias=0.2), "8", PLAN)
        until(lambda: callers.versions["8"] > 50)

    assert callers.failed == []
    assert ended.metrics["shadow"]["rows"] >= 50
    assert ended.metrics["canary"]["trial_requests"] > 0
    assert ended.metrics["canary_same_rows"]["rows"] > 0
    assert ready.releases.events()[0] == ("promoted", "8")
    assert ready.get("/v1/model").json()["version"] == "8"


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
        with pytest.raises(RejectedError, match=says):
            ready.releases.roll_out(*models(**wrong), "8", PLAN)

    # Then it is rejected in the shadow, by what they had asked, and nobody noticed
    assert (set(callers.versions), callers.failed) == ({"7"}, [])
    assert ready.releases.events()[0] == ("rejected", "8")
    assert ready.get("/v1/model").json()["version"] == "7"


def test_where_a_canary_fails_the_old_version_answers_and_the_canary_goes(
    ready: ServingProcess, models: Models
) -> None:
    # Given a version that does well on sample rows, but has no probability for a far flight
    model = models(output="Identity", weights=(0.01, 0.0, 0.0), bias=0.6)
    loose = {"slower_seconds": 5, "psi": 100, "mean_shift": 1, "spread": 0}
    plan = PLAN | {"idle_seconds": 60, "watch_seconds": 60, "share": 1.0, "limits": loose, "shadow_seconds": 0}
    rejected: list[str] = []

    def release() -> None:
        try:
            ready.releases.roll_out(*model, "8", plan)
        except RejectedError as error:
            rejected.append(str(error))

    conductor = threading.Thread(target=release)
    conductor.start()
    until(lambda: on_trial(ready, model[1]))

    # When someone asks for one, Then the old version answers, and the new one is rejected for it
    answer = ready.predict([{"distance": 5000, "hour": 1, "carrier": "AA"}])
    assert (answer.status_code, answer.json()["model_version"]) == (200, "7")
    conductor.join()
    assert rejected == ["canary: 1 of 1 answers failed, at most 1.0% may"]
    assert ready.predict(ROWS[:1]).json()["model_version"] == "7"


def test_a_canary_answers_its_share_and_each_caller_is_on_one_side(ready: ServingProcess, models: Models) -> None:
    # Given people who ask, and a good version with a quarter of them
    eight = models(bias=0.2)
    with (
        Callers([ready.url], ROWS[:3]) as callers,
        conducted(ready.releases, *eight, "8", share=0.25),
    ):
        until(lambda: on_trial(ready, eight[1]))
        callers.forget()
        until(lambda: callers.answers > 100)  # what was asked before the split is answered by now
        callers.forget()
        until(lambda: callers.answers > 600)
        sides, versions = callers.seen()

    # Then about a quarter was answered by it, and nobody by both
    share = versions["8"] / (versions["7"] + versions["8"])
    assert 0.05 < share < 0.55
    assert [side for side in sides.values() if len(side) > 1] == []
    assert callers.failed == []


def test_a_file_that_no_server_can_load_is_refused_before_any_trial(ready: ServingProcess, models: Models) -> None:
    uri, _ = models(bias=0.2)

    with pytest.raises(RefusedError, match="SHA-256 is"):
        ready.releases.deploy(uri, "0" * 64, "8")

    assert ready.get("/v1/model").json()["version"] == "7"
    assert ready.releases.events()[0] == ("aborted", "8")


def test_versions_are_swapped_under_load_without_a_failed_request(ready: ServingProcess, models: Models) -> None:
    with Callers([ready.url], ROWS[:3]) as callers:
        for version in range(8, 20):
            before = callers.answers
            until(lambda before=before: callers.answers > before + 20)  # type: ignore[misc]
            ready.deploy(*models(bias=version / 50), str(version))
        until(lambda: callers.versions["19"] > 20)

    assert callers.failed == []
    assert len(callers.versions) > 5


def test_a_canary_whose_conductor_is_gone_ends_by_itself(ready: ServingProcess, models: Models) -> None:
    eight, short = models(bias=0.2), ReleasesFolder(ready.releases.place, lease=1.0)
    with conducted(short, *eight, "8", share=1.0):
        until(lambda: ready.predict(ROWS[:1]).json()["model_version"] == "8")

    until(lambda: ready.predict(ROWS[:1]).json()["model_version"] == "7")
    until(lambda: not on_trial(ready, eight[1]))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_in_mid_canary_takes_part_again_when_it_starts(
    ready: ServingProcess, models: Models, how: signal.Signals
) -> None:
    with conducted(ready.releases, *models(bias=0.2), "8", share=1.0):
        until(lambda: ready.predict(ROWS[:1]).json()["model_version"] == "8")

        ready.stop(how)
        ready.start()

        assert ready.get("/v1/model").json()["version"] == "7"
        until(lambda: ready.predict(ROWS[:1]).json()["model_version"] == "8")


# Several servers


@pytest.fixture
def second(ready: ServingProcess, tmp_path: Path) -> Iterator[ServingProcess]:
    """Another server that follows the same releases, on a disk of its own."""
    server = ServingProcess(tmp_path / "second" / "state", ready.releases.place)
    server.state.mkdir(parents=True)
    server.start()
    until(lambda: server.get("/readyz").status_code == 200)
    yield server
    server.stop(signal.SIGKILL)


def test_a_release_has_reached_every_server_when_it_is_done(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    for version in ("8", "9"):
        assert ready.releases.deploy(*models(bias=int(version) / 50), version).settled.ready == 2

        assert [one.predict(ROWS[:1]).json()["model_version"] for one in (ready, second)] == [version, version]


def test_a_trial_counts_what_every_server_sees(ready: ServingProcess, second: ServingProcess, models: Models) -> None:
    # Given people who ask one of two servers
    with Callers([second.url], ROWS[:3]) as callers:
        until(lambda: callers.answers > 20)
        ended = ready.releases.roll_out(*models(bias=0.2), "8", PLAN)

    assert ended.metrics["shadow"]["rows"] >= 50
    assert ended.metrics["canary"]["trial_requests"] > 0
    assert callers.failed == []
    assert [one.served() for one in (ready, second)] == ["8", "8"]


def test_a_server_killed_in_a_trial_costs_the_trial_nothing(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    # Given people who ask one of two servers, and a release under way
    with Callers([ready.url], ROWS[:3]) as callers:
        until(lambda: callers.answers > 20)
        eight = models(bias=0.2)
        ended: list[Any] = []
        conductor = threading.Thread(target=lambda: ended.append(ready.releases.roll_out(*eight, "8", PLAN)))
        conductor.start()
        until(lambda: len(on_trial(ready, eight[1])) == 2)

        # When the other one is killed
        second.stop(signal.SIGKILL)
        conductor.join()

    # Then the version is promoted, and it follows when it starts again
    assert (ready.releases.tail().event, callers.failed) == (ReleaseEvent.PROMOTED, [])
    assert len(ended) == 1
    second.start()
    until(lambda: second.served() == "8")


def test_a_server_that_joins_in_mid_canary_takes_part(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    second.stop()
    with conducted(ready.releases, *models(bias=0.2), "8", share=1.0):
        until(lambda: ready.predict(ROWS[:1]).json()["model_version"] == "8")

        second.start()

        until(lambda: second.predict(ROWS[:1]).json()["model_version"] == "8")
        assert second.get("/v1/model").json()["version"] == "7"


def test_a_server_that_stands_still_is_not_waited_for_and_follows_later(
    ready: ServingProcess, second: ServingProcess, models: Models
) -> None:
    os.kill(second.pid, signal.SIGSTOP)
    try:
        settled = ready.releases.deploy(*models(bias=0.2), "8").settled
        assert (settled.ready, len(settled.silent)) == (1, 1)
        assert ready.predict(ROWS[:1]).json()["model_version"] == "8"
    finally:
        os.kill(second.pid, signal.SIGCONT)

    until(lambda: second.predict(ROWS[:1]).json()["model_version"] == "8")


def test_a_server_that_starts_while_the_model_file_is_away_serves_once_it_is_back(
    ready: ServingProcess, second: ServingProcess, models: Models, tmp_path: Path
) -> None:
    # Given a version whose file is gone, and a server that starts on an empty disk
    second.stop()
    uri, sha256 = models(bias=0.2)
    ready.deploy(uri, sha256, "8")
    file = tmp_path / f"{sha256}.onnx"
    file.rename(tmp_path / "away")
    for kept in second.state.rglob("*.onnx"):
        kept.unlink()
    second.start()
    expected = "no model is served: version 8 cannot be loaded: …: there is no such file"
    assert second.get("/readyz").json()["detail"] == expected
    assert ready.predict(ROWS[:1]).json()["model_version"] == "8"

    # When the file is back, Then it serves, and nobody had to tell it
    (tmp_path / "away").rename(file)
    until(lambda: second.get("/readyz").status_code == 200)
    assert second.predict(ROWS[:1]).json()["model_version"] == "8"


@pytest.mark.stack
def test_workers_behind_one_port_are_replicas_and_one_that_dies_is_replaced(tmp_path: Path, models: Models) -> None:
    # Given a server of three workers, and people who ask
    server = ServingProcess(tmp_path / "three", SERVING_WORKERS="3").start()
    try:
        server.deploy(*models(), "7")
        with Callers([server.url], ROWS[:3], threads=6) as callers:
            until(lambda: callers.answers > 60)

            # When the next version is released, Then all of them serve it, and nobody noticed
            assert server.releases.roll_out(*models(bias=0.2), "8", PLAN).settled.ready == 3
            until(lambda: callers.versions["8"] > 100)
            callers.forget()
            until(lambda: callers.answers > 100)
        assert (set(callers.versions), callers.failed) == ({"8"}, [])

        # When one is killed, Then the next one answers with that version from its first request on
        os.kill(min(server.workers()), signal.SIGKILL)
        until(lambda: len([one for one in server.reports() if one.serving]) == 4)
        assert {server.predict(ROWS[:1]).json()["model_version"] for _ in range(30)} == {"8"}
    finally:
        server.stop(signal.SIGKILL)


# The releases are away


@pytest.mark.stack
def test_a_server_that_starts_while_the_releases_hang_serves_what_it_kept(tmp_path: Path, models: Models) -> None:
    # Given a server that has served version 7
    first = ServingProcess(tmp_path / "state").start()
    first.deploy(*models(), "7")
    first.stop()

    # When it starts again, and its releases are in a store that accepts connections and never answers
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        second = ServingProcess(first.state, tmp_path / "unused", **credentials)
        second.environment |= {"SERVING_RELEASES": "s3://releases", "SERVING_S3_ENDPOINT": endpoint}
        second.start()
        try:
            # Then it serves version 7
            until(lambda: second.get("/readyz").status_code == 200)
            assert second.predict(ROWS[:1]).json()["model_version"] == "7"
            assert second.get("/readyz").json()["models"][USE_CASE]["read_seconds_ago"] is None
        finally:
            second.stop(signal.SIGKILL)


def test_a_server_whose_releases_are_away_serves_on_and_follows_when_they_are_back(
    ready: ServingProcess, models: Models, tmp_path: Path
) -> None:
    # Given a folder of releases that is unmounted
    place = Path(ready.releases.place)
    place.rename(tmp_path / "away")
    place.write_text("no folder")
    try:
        # Then requests are answered all the same, and health says how long it has been
        def away() -> bool:
            return bool(ready.get("/readyz").json()["models"][USE_CASE]["read_seconds_ago"] > 0.5)

        until(away)
        assert ready.predict(ROWS[:1]).json()["model_version"] == "7"
        assert ready.get(f"/v1/models/{USE_CASE}/deployments").status_code in (200, 503)
    finally:
        place.unlink()
        (tmp_path / "away").rename(place)

    # And when it is back, it is followed
    ready.deploy(*models(bias=0.2), "8")


def test_a_request_waits_for_no_loading(ready: ServingProcess, tmp_path: Path) -> None:
    # Given a version whose file comes from an address that never answers
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/8.onnx"
        writer = ready.releases.writer()
        tail = writer.tail()
        wanted = tail.release.model_copy(update={"prepare": entry(uri, "0" * 64, "8")})
        ready.until_entry(writer.append(tail, ReleaseEvent.PREPARING, "8", wanted).number)

        # Then requests are answered
        with Callers([ready.url], ROWS[:3]) as callers:
            until(lambda: callers.answers > 100)

    assert (set(callers.versions), callers.failed) == ({"7"}, [])
