"""Installs requirements.lock into .venv; runs on the system's bare Python, before anything of ours is installed.

uv is taken from the PATH; else it is installed below .nightshift by whatever pip can be had: a virtual environment's,
the system's, or the one in Debian's package python3-pip-whl, unpacked and not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
TOOLS = ROOT / ".nightshift" / "tools"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> None:
    """Make .venv and bring it in line with the lock; one line says what to do when that cannot be."""
    python = _python()
    uv = _uv(python)
    if not (VENV / "bin" / "python").exists():
        _run([uv, "venv", "--quiet", "--clear", "--python", python, str(VENV)])
    print("installing requirements.lock into .venv (once; a minute or two)", flush=True)
    # Compiled now, once: Airflow, MLflow and Great Expectations load in half the time, even where nobody may write.
    target = ["--python", str(VENV / "bin" / "python"), str(ROOT / "requirements.lock")]
    _run([uv, "pip", "sync", "--compile-bytecode", *target])
    (VENV / "installed").touch()


def _python() -> str:
    """A Python that the lock was made for."""
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        if (path := shutil.which(name)) and OLDEST <= _version(path) <= NEWEST:
            return path
    raise SystemExit("nightshift: needs Python 3.11, 3.12 or 3.13; install one: apt-get install python3")


def _version(python: str) -> tuple[int, int]:
    done = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    major, _, minor = done.stdout.strip().partition(" ")
    return (int(major), int(minor)) if done.returncode == 0 else (0, 0)


def _uv(python: str) -> str:
    found = shutil.which("uv")
    if found and _works([found, "--version"]):
        return found
    kept = TOOLS / "bin" / "uv"
    if kept.exists():
        return str(kept)
    print("installing uv into .nightshift/tools", flush=True)
    TOOLS.mkdir(parents=True, exist_ok=True)
    for pip in _pips(python):
        done = subprocess.run(
            [*pip, "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target", str(TOOLS), "uv"],
            check=False,
        )
        if done.returncode == 0 and kept.exists():
            return str(kept)
        raise SystemExit("nightshift: uv could not be installed (see above); is the package index within reach?")
    raise SystemExit("nightshift: needs uv, or a way to get it: apt-get install python3-venv")


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
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> None:
    # Behind a company's proxy only the machine itself knows whom to trust; uv would bring its own list.
    environment = {"UV_SYSTEM_CERTS": "true"} if SYSTEM_CERTIFICATES.exists() else {}
    code = subprocess.run(command, cwd=ROOT, env=environment | os.environ, check=False).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
