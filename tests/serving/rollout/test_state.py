from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from serving.rollout.rollout import InService, Rollout
from serving.rollout.state import ROLLOUT, StateFolder, WorkerReport

from serving.errors import UnacknowledgedError
from serving.processes import roster

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ENTRY = InService(version="8", sha256="0" * 64, uri="file:///8.onnx", use_case="flight_delay", since=NOW)
A_ROLLOUT = Rollout(id="r", worker="1-a", entry=ENTRY, began=NOW, changed=NOW)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state", acknowledge_seconds=0.05)


def test_a_new_folder_says_that_nothing_is_served(folder: StateFolder) -> None:
    assert folder.current() is None
    assert folder.change().rollout is None


def test_what_is_written_is_read_and_changes_the_stamp(folder: StateFolder) -> None:
    stamps = [folder.stamp()]
    for change in (lambda: folder.serve(ENTRY), lambda: folder.write(A_ROLLOUT), lambda: folder.serve(None)):
        change()
        stamps.append(folder.stamp())

    assert len(set(stamps)) == len(stamps)
    assert folder.change().rollout == A_ROLLOUT
    assert folder.current() is None


def test_each_change_has_a_greater_number_even_after_the_file_was_lost(folder: StateFolder) -> None:
    first, second = folder.write(A_ROLLOUT), folder.write(None)
    (folder.path / ROLLOUT).write_text("{")
    third = folder.write(A_ROLLOUT)

    assert first < second < third


def test_nobody_is_waited_for_where_nobody_works(folder: StateFolder) -> None:
    assert folder.wait(folder.write(A_ROLLOUT)) == []


def test_a_worker_that_takes_a_change_over_is_waited_for(folder: StateFolder) -> None:
    serial = folder.write(A_ROLLOUT)
    with roster.Member(folder.path):
        # Given a worker that has said nothing, then something of an older change
        for report in (None, WorkerReport("1-a", serial - 1)):
            if report is not None:
                folder.report(report)
            with pytest.raises(UnacknowledgedError, match=f"worker process {os.getpid()} did not take over"):
                folder.wait(serial)

        # When it takes it over, Then the wait is over
        folder.report(WorkerReport("1-a", serial))
        assert [report.worker for report in folder.wait(serial)] == ["1-a"]
        assert folder.alive("1-a")
    assert not folder.alive("1-a")


def test_what_dead_workers_said_is_forgotten(folder: StateFolder) -> None:
    left = folder.path / roster.FOLDER / "999999999.json"
    with roster.Member(folder.path):
        left.write_text("{}")
        folder.report(WorkerReport("1-a", 1))

        folder.forget()

        assert not left.exists()
        assert list(folder.reports().values()) == [None]


def test_another_worker_with_the_process_id_of_a_dead_one_is_not_taken_for_it(folder: StateFolder) -> None:
    with roster.Member(folder.path):
        folder.report(WorkerReport("1-new", 1))

        assert not folder.alive("1-old")
