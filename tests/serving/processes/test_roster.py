from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.processes import roster
from tests.serving_process import ROOT

WORKER = """
import sys, time
from pathlib import Path
from serving.processes.roster import Member
with Member(Path(sys.argv[1])):
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def worker(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that is enlisted."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_a_server_that_never_ran_has_no_workers(tmp_path: Path) -> None:
    assert roster.live(tmp_path) == set()


def test_workers_live_until_they_end_or_are_killed(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    with roster.Member(tmp_path):
        assert roster.live(tmp_path) == {os.getpid(), worker.pid}
    assert roster.live(tmp_path) == {worker.pid}

    worker.send_signal(signal.SIGKILL)
    worker.communicate()

    assert roster.live(tmp_path) == set()


def test_a_file_that_a_killed_worker_left_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    left = tmp_path / roster.FOLDER / str(os.getpid())
    left.parent.mkdir()
    left.touch()

    assert roster.live(tmp_path) == set()
    with roster.Member(tmp_path):
        assert roster.live(tmp_path) == {os.getpid()}
