"""Installing on a machine that has next to nothing, with stand-ins for the programs it may or may not have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.stack import REPOSITORY

UV = """#!/bin/sh
case "$1" in
    --version) exit 0 ;;
    venv) for last; do :; done; mkdir -p "$last/bin"; ln -s {python} "$last/bin/python"; echo "$5" > "$last/asked" ;;
    pip) printf 'Downloading numpy (16.1MiB)\\n + numpy==2.4.6\\nInstalled 1 package\\n' >&2; exit {code} ;;
esac
"""


def machine(folder: Path, *, uv_exits: int = 0) -> Path:
    """A checkout in a folder with spaces in its name, and beside it a folder of the only programs there are."""
    root = folder / "my projects" / "nightshift"
    (root / "local").mkdir(parents=True)
    shutil.copyfile(REPOSITORY / "local" / "install.py", root / "local" / "install.py")
    (root / "requirements.lock").touch()
    programs = folder / "bin"
    programs.mkdir()
    uv = programs / "uv"
    uv.write_text(UV.format(python=sys.executable, code=uv_exits))
    uv.chmod(0o755)
    for name in ("sh", "mkdir", "ln"):
        (programs / name).symlink_to(shutil.which(name) or name)
    return root


def install(root: Path, *, python: bool = True) -> subprocess.CompletedProcess[str]:
    """What `make install` runs."""
    programs = root.parents[1] / "bin"
    if python:
        (programs / "python3").unlink(missing_ok=True)
        (programs / "python3").symlink_to(sys.executable)
    return subprocess.run(
        [sys.executable, str(root / "local" / "install.py")],
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.stack
def test_it_says_what_it_does_but_not_each_of_the_packages_and_does_it_once(tmp_path: Path) -> None:
    root = machine(tmp_path)
    done = install(root)
    assert done.returncode == 0, done.stderr
    assert "Downloading numpy" in done.stdout
    assert "numpy==" not in done.stdout + done.stderr
    assert (root / ".venv" / "installed").exists()
    assert (root / ".nightshift").stat().st_mode & 0o077 == 0
    assert install(root).stdout == ""


@pytest.mark.stack
def test_what_failed_is_done_again_next_time(tmp_path: Path) -> None:
    root = machine(tmp_path, uv_exits=1)
    done = install(root)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("`make install` goes on where it ended")
    assert not (root / ".venv" / "installed").exists()


@pytest.mark.stack
def test_without_a_python_of_the_lock_uv_is_asked_for_one(tmp_path: Path) -> None:
    root = machine(tmp_path)
    assert "fetches it if need be" in install(root, python=False).stdout
    assert (root / ".venv" / "asked").read_text().strip() == "3.13"


@pytest.mark.stack
def test_without_uv_and_any_pip_it_says_what_to_install(tmp_path: Path) -> None:
    root = machine(tmp_path)
    (tmp_path / "bin" / "uv").unlink()
    bare = "import sys, local.install as i; i._works = lambda *_: False; i.find_uv()"
    done = subprocess.run(
        [sys.executable, "-c", bare], cwd=root, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"}
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("as root, `apt-get update && apt-get install python3-venv`")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    root = machine(tmp_path)
    root.chmod(0o500)
    done = install(root)
    assert done.stderr.startswith("nightshift: cannot install into ")
    assert len(done.stderr.splitlines()) == 1
