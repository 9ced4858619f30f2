"""A worker that could not load what is in service: it says so, and tries again until it can."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import until

ROWS: list[dict[str, Any]] = [{"distance": number / 10, "hour": number % 24, "carrier": "B6"} for number in range(60)]
PLAN: dict[str, Any] = {"shadow_rows": 50, "watch_seconds": 1.0, "idle_seconds": 0.3, "share": 0.5}


@dataclass
class ModelFile:
    """A model file whose store is away for a while."""

    path: Path
    uri: str
    sha256: str

    def vanish(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def come_back(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


def model_file(folder: Path, *, bias: float = 0.1) -> ModelFile:
    uri, sha256 = write(folder, portable_bytes(bias=bias))
    return ModelFile(Path(uri.removeprefix("file://")), uri, sha256)


@pytest.fixture
def seven(serving: ServingProcess, tmp_path: Path) -> ModelFile:
    """Version 7, in service."""
    found = model_file(tmp_path)
    serving.deploy(found.uri, found.sha256, "7").raise_for_status()
    return found


@pytest.fixture
def sick(serving: ServingProcess, seven: ModelFile) -> Iterator[ServingProcess]:
    """Another worker of the same server, that started while the file of version 7 was away."""
    seven.vanish()
    worker = ServingProcess(serving.state).start()
    yield worker
    worker.stop(signal.SIGKILL)


def test_a_model_that_could_not_be_loaded_at_a_start_is_served_as_soon_as_its_store_is_back(
    serving: ServingProcess, seven: ModelFile
) -> None:
    # Given a server that was killed, and started again while its model's store is away
    serving.stop(signal.SIGKILL)
    seven.vanish()
    serving.start()
    answer = serving.get("/readyz")
    assert (answer.status_code, serving.predict(ROWS[:1]).status_code) == (503, 503)
    assert answer.json()["detail"].startswith("no model is served: version 7 cannot be loaded again: ")

    # When the store is back, Then it serves, and nobody had to tell it
    seven.come_back()
    until(lambda: serving.get("/readyz").status_code == 200)
    assert serving.predict(ROWS[:1]).json()["model_version"] == "7"


def test_it_is_tried_again_after_each_failure_and_not_only_once(serving: ServingProcess, seven: ModelFile) -> None:
    serving.stop(signal.SIGKILL)
    seven.vanish()
    seven.path.write_bytes(b"half a file")
    before = len(serving.log.read_text())
    serving.start()

    until(lambda: serving.log.read_text()[before:].count("tried again") >= 2)
    seven.come_back()

    until(lambda: serving.predict(ROWS[:1]).status_code == 200)


def test_a_model_that_was_withdrawn_meanwhile_is_not_served_when_its_store_is_back(
    serving: ServingProcess, seven: ModelFile
) -> None:
    serving.stop()
    seven.vanish()
    serving.start()

    serving.reset()
    seven.come_back()
    serving.stop()
    before = len(serving.log.read_text())
    serving.start()

    assert serving.get("/readyz").json()["detail"] == "no model is served: nothing was deployed yet"
    assert "tried again" not in serving.log.read_text()[before:]


def test_a_rollout_that_lands_on_a_worker_without_the_model_puts_nothing_into_service(
    serving: ServingProcess, sick: ServingProcess, tmp_path: Path
) -> None:
    # Given a worker that answers with version 7, and one that could not load it
    assert [one.get("/readyz").status_code for one in (serving, sick)] == [200, 503]
    assert sick.get("/v1/model").json()["version"] == "7"
    eight = model_file(tmp_path, bias=0.2)

    # When a rollout is asked of the one that cannot compare, Then nothing changes, and it says to ask again
    answer = sick.deploy(eight.uri, eight.sha256, "8", rollout=PLAN, rows=ROWS)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"].startswith("this worker does not serve yet what the others do (version 7 ")
    assert serving.predict(ROWS[:1]).json()["model_version"] == "7"

    # And asked of the other one, the version has to prove itself, and then serves in both
    answer = serving.deploy(eight.uri, eight.sha256, "8", rollout=PLAN, rows=ROWS)
    assert (answer.status_code, answer.json()["instead_of"]) == (202, "7")
    ended = serving.ended()
    assert (ended["phase"], ended["metrics"]["shadow"]["rows"] >= len(ROWS)) == ("promoted", True)
    until(lambda: [one.predict(ROWS[:1]).json().get("model_version") for one in (serving, sick)] == ["8", "8"])


def test_a_rollout_makes_a_worker_try_again_at_once(
    serving: ServingProcess, seven: ModelFile, sick: ServingProcess, tmp_path: Path
) -> None:
    # Given a worker that has failed so often that its next try is a while away
    until(lambda: sick.log.read_text().count("tried again") >= 3)
    seven.come_back()

    # When a rollout is asked of it, Then it compares with version 7
    eight = model_file(tmp_path, bias=0.2)
    answer = sick.deploy(eight.uri, eight.sha256, "8", rollout=PLAN, rows=ROWS)
    assert (answer.status_code, answer.json()["instead_of"]) == (202, "7")
    assert sick.ended()["phase"] == "promoted"
