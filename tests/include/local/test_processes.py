"""What is started is found again and stopped; nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.errors import FaultError
from include.local.processes import Process, Processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)",
]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path / "a folder" / "processes")
    yield processes
    for process in processes.all():
        processes.stop(process.name, grace=0.1)


def start(processes: Processes, argv: list[str], name: str = "worker") -> Process:
    folder = processes.folder.parent.parent
    return processes.start(name, argv, environment=dict(os.environ), folder=folder, log=folder / f"{name}.log")


def said(process: Process) -> str:
    deadline = time.monotonic() + 10
    while not (text := Path(process.log).read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return text


def test_a_process_is_found_again_by_another_command_and_stopped(processes: Processes) -> None:
    started = start(processes, SLEEP)
    later = Processes(processes.folder)
    assert later.running("worker") == started
    assert [process.name for process in later.all()] == ["worker"]
    assert later.stop("worker") == started
    assert not started.alive
    assert later.running("worker") is None


def test_starting_twice_starts_one(processes: Processes) -> None:
    assert start(processes, SLEEP).pid == start(processes, SLEEP).pid


def test_a_stranger_that_inherited_the_id_is_not_stopped(processes: Processes) -> None:
    # Given a record of a process that ended, whose id now belongs to somebody else
    with subprocess.Popen(SLEEP, start_new_session=True) as stranger:
        try:
            record = {"name": "worker", "pid": stranger.pid, "ticks": 1, "started": "2026-01-01T00:00:00", "log": "x"}
            processes.folder.mkdir(parents=True)
            (processes.folder / "worker.json").write_text(json.dumps(record))
            # When everything of ours is stopped, then the stranger lives on
            assert processes.running("worker") is None
            assert processes.stop("worker") is None
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_what_ignores_its_signal_is_killed(processes: Processes) -> None:
    process = start(processes, STUBBORN)
    assert "deaf" in said(process)
    processes.stop("worker", grace=0.3)
    assert not process.alive


def test_the_children_of_a_process_are_stopped_with_it(processes: Processes) -> None:
    process = start(processes, PARENT)
    child = int(said(process))
    processes.stop("worker")
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_process_that_was_killed_by_hand_counts_as_gone(processes: Processes) -> None:
    process = start(processes, SLEEP)
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes.all() == []


def test_one_that_ends_while_it_starts_is_reported_with_its_last_words(processes: Processes) -> None:
    process = start(processes, [sys.executable, "-c", "print('no such option'); raise SystemExit(3)"])
    with pytest.raises(FaultError, match=r"worker ended while starting: no such option \(log: .*worker\.log\)"):
        processes.wait_until(process, lambda: False, seconds=10)


def test_one_that_never_answers_is_reported_with_its_log(processes: Processes) -> None:
    process = start(processes, SLEEP)
    with pytest.raises(FaultError, match=r"worker is not ready after 0 s; see .*log"):
        processes.wait_until(process, lambda: False, seconds=0.2)


def test_a_damaged_record_counts_as_none(processes: Processes) -> None:
    processes.folder.mkdir(parents=True)
    (processes.folder / "worker.json").write_text("{")
    assert processes.all() == []
