"""What is started is found again and stopped; nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from include.errors import FaultError
from local.processes import Process, Processes
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]

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
    deadline = time.monotonic() + PATIENCE
    while not (text := Path(process.log).read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return text


def gone(pid: int) -> bool:
    """Whether a process has ended, even where nobody has waited for it yet."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


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


@pytest.mark.stack
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
    assert gone(child)


def test_a_process_that_was_killed_by_hand_counts_as_gone(processes: Processes) -> None:
    process = start(processes, SLEEP)
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes.all() == []


@pytest.mark.parametrize("deaf", [False, True])
def test_what_outlives_a_leader_that_was_killed_is_found_and_ended(processes: Processes, deaf: bool) -> None:
    # Given a process whose child has a process group of its own, as Airflow's tasks have, and which is killed
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
    child = f"import os, signal, time; os.setpgid(0, 0); {ignore}print(os.getpid(), flush=True); time.sleep(60)"
    starts = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    process = start(processes, [sys.executable, "-c", starts])
    orphan = int(said(process))
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive)
    # When another command looks, then it sees who is left
    later = Processes(processes.folder)
    assert later.left_behind() == {"worker": [orphan]}
    # And when all is stopped, then nothing is left
    assert later.stop("worker", grace=0.3) == process
    assert gone(orphan)
    assert later.left_behind() == {}


def test_starting_one_again_ends_what_the_killed_one_left(processes: Processes) -> None:
    process = start(processes, PARENT)
    orphan = int(said(process))
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive)
    assert start(processes, SLEEP).alive
    assert gone(orphan)


@pytest.mark.stack
def test_nobody_elses_session_is_taken_for_what_was_left(processes: Processes, tmp_path: Path) -> None:
    # Given a stranger's session whose leader, long gone, had the id that is in our record of a killed process
    begins = f"import subprocess; print(subprocess.Popen({SLEEP!r}, cwd={str(tmp_path)!r}).pid, flush=True)"
    argv = [sys.executable, "-c", begins]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        stranger = int(leader.stdout.readline())
        leader.wait()
    ours = start(processes, SLEEP)
    processes.stop("worker")
    for changed in ({"folder": "/elsewhere"}, {"boot": "another"}, {"ticks": 2**60}):
        record = {**asdict(ours), "pid": leader.pid, "ticks": 1, "folder": str(tmp_path), **changed}
        (processes.folder / "worker.json").write_text(json.dumps(record))
        # When everything of ours is stopped, then the stranger lives on
        assert processes.stop("worker") is None, changed
        assert not gone(stranger)
    os.kill(stranger, signal.SIGKILL)


@pytest.mark.stack
def test_nothing_runs_that_is_not_written_down(processes: Processes, tmp_path: Path) -> None:
    """Whoever starts a process and is killed before the record of it leaves nothing behind that nobody knows of."""
    kills = f"""
import os, signal, sys
from pathlib import Path
from local.processes import Processes
Processes._record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Processes(Path({str(processes.folder)!r})).start(
    "worker", ["touch", "it-ran"], environment=dict(os.environ), folder=Path({str(tmp_path)!r}), log=Path("log"))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", kills], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    time.sleep(0.3)
    assert not (tmp_path / "it-ran").exists()


def test_the_settings_that_a_process_was_started_with_are_kept_for_its_owner_alone(tmp_path: Path) -> None:
    processes = Processes(tmp_path, {"NIGHTSHIFT_DATABASE_URL": "postgresql://me:hush@db/x"})
    start(processes, SLEEP)
    found = Processes(tmp_path).running("worker")
    processes.stop("worker", grace=0.1)
    assert found is not None
    assert found.settings == processes.settings
    start(processes, SLEEP)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("*.json")} == {0}
    processes.stop("worker", grace=0.1)


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
