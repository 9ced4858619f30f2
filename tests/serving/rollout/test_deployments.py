from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from serving.rollout.deployments import FILE, KEPT, DeploymentEvent, DeploymentRecord, History
from serving.rollout.rollout import InService
from serving.rollout.state import StateFolder

from tests.serving_process import ROOT

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def record(version: int) -> DeploymentRecord:
    entry = InService(
        version=str(version), sha256="0" * 64, uri="file:///m.onnx", use_case="flight_delay", since=NOW, by="someone"
    )
    return DeploymentRecord.of(entry, DeploymentEvent.DEPLOYED, NOW, metrics={"shadow": {"rows": version}})


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(StateFolder(tmp_path))


def versions(history: History) -> list[str]:
    return [one.version for one in history.records()]


def test_nothing_happened_yet(history: History) -> None:
    assert history.records() == []


def test_what_happened_is_remembered_in_order(history: History) -> None:
    for version in (1, 2):
        history.add(record(version))

    assert history.records() == [record(1), record(2)]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_torn_by_a_crash_is_left_out_and_costs_no_other(history: History, tmp_path: Path, cut: int) -> None:
    # Given a crash in the middle of a line
    for version in (1, 2):
        history.add(record(version))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-cut])

    # When the next event is noted
    torn = versions(history)
    history.add(record(3))

    # Then only what was torn is lost; a line that lost but its end is whole
    assert torn == (["1", "2"] if cut == 1 else ["1"])
    assert versions(history) == [*torn, "3"]


def test_the_file_does_not_grow_for_ever(history: History, tmp_path: Path) -> None:
    lines = [record(number).model_dump_json() + "\n" for number in range(2 * KEPT)]
    (tmp_path / FILE).write_text("".join(lines))

    history.add(record(9999))

    assert len(history.records()) == KEPT
    assert versions(history)[-2:] == [str(2 * KEPT - 1), "9999"]


@pytest.mark.stack
def test_a_process_killed_while_it_writes_leaves_a_history_that_can_be_read(history: History, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
sys.path.insert(0, "")
from tests.serving.rollout.test_deployments import record
from serving.rollout.deployments import History
from serving.rollout.state import StateFolder
history = History(StateFolder(Path(sys.argv[1])))
print("writing", flush=True)
for number in range(100000):
    history.add(record(number))
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    while len(history.records()) < 20:
        assert writer.poll() is None
    writer.kill()
    writer.communicate()

    history.add(record(7))

    found = versions(history)
    assert found[-1] == "7"
    assert found[:20] == [str(number) for number in range(20)]
