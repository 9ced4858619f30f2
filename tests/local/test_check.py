"""`make check` looks at the lake of the stack that runs, and at the use cases that the shell names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.processes import Processes
from local.stack import REPOSITORY
from tests.use_case_copy import ICE_CREAM

pytestmark = pytest.mark.stack

STARTED = "tests.use_cases.arrival_delay"
"""What the stack runs; it needs no packages of its own."""
BESIDE = ("airflow_settings.yaml", "formats", "stores", "include", "serving", "plugins", "spark_jobs", "tests")


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A checkout of its own whose stack runs, with a lake that is damaged: whoever looks into it says so."""
    shutil.copytree(REPOSITORY / "local", tmp_path / "local", ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for partition in (
        "plans/data_day=2026-06-01",
        "plans/data_day=2026-06-02",
        "sales/data_day=2026-06-01",
        "sales/data_day=2026-06-02",
    ):
        folder = tmp_path / "lake" / "ice_cream" / "raw" / partition
        folder.mkdir(parents=True)
        (folder / "_manifest.json").write_text("{")
    started = {"NIGHTSHIFT_LAKE": str(tmp_path / "lake"), "NIGHTSHIFT_USE_CASES": STARTED}
    running = Processes(tmp_path / ".nightshift" / "processes", started)
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    running.start("serving", argv, environment={}, folder=tmp_path, log=tmp_path / "log")
    yield tmp_path
    running.stop("serving")


def check(checkout: Path, *argv: str, **shell: str) -> subprocess.CompletedProcess[str]:
    """`make check` in a shell that has these variables of ours, and no other."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")}
    environment = plain | shell | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "local", "check", *argv]
    return subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)


def test_the_running_stacks_lake_is_looked_at_for_the_use_case_that_is_named(checkout: Path) -> None:
    done = check(checkout, "--use-case", ICE_CREAM)
    assert "as the running stack was started: NIGHTSHIFT_LAKE" in done.stdout
    assert (
        done.returncode != 0
        and "lake: manifest of raw/plans/data_day=2026-06-01 is damaged" in done.stdout + done.stderr
    )


def test_the_running_stacks_use_cases_are_checked_where_none_is_named(checkout: Path) -> None:
    done = check(checkout, "--static")
    assert done.returncode == 0 and f"{STARTED}: 0 findings (" in done.stdout


def test_a_shell_may_name_use_cases_that_the_stack_does_not_run(checkout: Path) -> None:
    done = check(checkout, "--static", NIGHTSHIFT_USE_CASES=ICE_CREAM)
    assert done.returncode == 0 and f"{ICE_CREAM}: 0 findings (" in done.stdout


def test_a_shell_with_another_lake_is_told_so(checkout: Path) -> None:
    done = check(checkout, "--use-case", ICE_CREAM, NIGHTSHIFT_LAKE="/another")
    assert done.returncode == 78
    assert f"NIGHTSHIFT_LAKE=/another, but the running stack was started with {checkout}/lake" in done.stderr
