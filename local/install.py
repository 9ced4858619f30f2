"""Installs requirements.lock into .venv; runs on the system's bare Python, before anything of ours is installed.

uv is taken from the PATH; else it is installed below .nightshift by the first pip that is found: the system's, a
virtual environment's, or the one in Debian's package python3-pip-whl, unpacked and not installed.
"""

from __future__ import annotations

import fcntl
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "installed"
LOCK = ROOT / "requirements.lock"
TOOLS = ROOT / ".nightshift" / "tools"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
OLDEST, NEWEST = (3, 11), (3, 13)
SILENCE_SECONDS = 15
PACKAGES = (" + ", " - ", " ~ ")
"""How uv begins the lines of its list, one for each of nearly 300 packages."""


def main() -> None:
    """Make .venv and bring it in line with the lock; one line gives the remedy if that fails."""
    with _alone():
        if STAMP.exists() and STAMP.stat().st_mtime >= LOCK.stat().st_mtime:
            return
        uv = find_uv()
        if not _works([str(VENV / "bin" / "python"), "--version"]):
            _run([uv, "venv", "--quiet", "--clear", "--python", _python(), str(VENV)])
        print("installing requirements.lock into .venv (once; a few minutes, 3 GB)", flush=True)
        # Compiled now, once: Airflow, MLflow and Great Expectations load in half the time, even on a read-only disk.
        target = ["--python", str(VENV / "bin" / "python"), str(LOCK)]
        _run([uv, "pip", "sync", "--compile-bytecode", *target])
        STAMP.touch()


@contextmanager
def _alone() -> Iterator[None]:
    """One installation at a time: a second one waits, then finds it done."""
    TOOLS.parent.mkdir(mode=0o700, exist_ok=True)
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "install.lock").open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another installation is under way; waiting for it to end", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _python() -> str:
    """A Python that the lock supports: one of this machine, else the newest, which uv then fetches."""
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        if (path := shutil.which(name)) and OLDEST <= _version(path) <= NEWEST:
            return path
    newest = ".".join(map(str, NEWEST))
    print(f"no Python 3.11, 3.12 or 3.13 on the PATH: uv looks for {newest}, and fetches it if need be", flush=True)
    return newest


def _version(python: str) -> tuple[int, int]:
    done = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    major, _, minor = done.stdout.strip().partition(" ")
    return (int(major), int(minor)) if done.returncode == 0 else (0, 0)


def find_uv() -> str:
    """The uv to install with; one is installed below .nightshift if the machine has none."""
    found = shutil.which("uv")
    if found and _works([found, "--version"]):
        return found
    kept = str(TOOLS / "bin" / "uv")
    if _works([kept, "--version"]):
        return kept
    print("installing uv into .nightshift/tools", flush=True)
    for pip in _pips(sys.executable):
        options = ["--quiet", "--disable-pip-version-check", "--upgrade", "--target", str(TOOLS)]
        code = subprocess.run(
            [*pip, "install", *options, "uv"], env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}, check=False
        ).returncode
        if code == 0 and _works([kept, "--version"]):
            return kept
        raise SystemExit("nightshift: uv could not be installed (see above); is the package index within reach?")
    raise SystemExit(
        "nightshift: needs uv, or a pip to install it with: as root, `apt-get update && apt-get install python3-venv`"
    )


def _pips(python: str) -> Iterator[list[str]]:
    """Ways to call a pip, the least demanding first."""
    if _works([python, "-m", "pip", "--version"]):
        yield [python, "-m", "pip"]
    venv = TOOLS / "venv"
    if _works([python, "-m", "venv", "--clear", str(venv)]):
        yield [str(venv / "bin" / "python"), "-m", "pip"]
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("apt-get") and _works(["apt-get", "download", "python3-pip-whl"], folder):
            for package in Path(folder).glob("*.deb"):
                _works(["dpkg-deb", "-x", str(package), folder])
            for wheel in Path(folder).glob("usr/share/python-wheels/pip-*.whl"):
                yield [python, f"{wheel}/pip"]


def _works(command: list[str], folder: str | None = None) -> bool:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(command: list[str]) -> None:
    """Run a command of uv and show its output without the list of packages; it is never silent for long."""
    # Behind a company's proxy only the machine knows which authorities to trust; uv would bring its own list.
    environment = {"UV_SYSTEM_CERTS": "true"} if SYSTEM_CERTIFICATES.exists() else {}
    clock = time.monotonic()
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment | os.environ, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(child, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=SILENCE_SECONDS)
        except queue.Empty:
            line = f"… {time.monotonic() - clock:.0f} s\n"
        if line is None:
            break
        if not line.startswith(PACKAGES):
            print(f"  {line}", end="", flush=True)
    if child.wait():
        raise SystemExit("nightshift: the installation failed (see above); `make install` goes on where it ended")


def _read(child: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    for line in child.stderr or ():
        lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("nightshift: interrupted; `make install` goes on where it ended") from None
    except OSError as error:
        raise SystemExit(f"nightshift: cannot install into {ROOT}: {error}") from None
