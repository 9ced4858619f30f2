"""A use case's own requirements: locked beside the platform's, and installed into the same `.venv`.

`requirements.txt` in its folder names what it needs; `requirements.lock` beside it pins that, with hashes. No package
of the platform gets another version.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from include.code import requirements_file
from include.errors import FaultError, SettingsError, StepError
from include.masking import masked
from include.packages import default_use_cases, find_package, packages
from local.install import LOCK, STAMP, VENV, find_uv

COMPILE = ("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate")


def lock(named: str) -> list[Path]:
    """Lock the requirements of the use cases named; the files written.

    Raises `SettingsError` where one has none, or where they need another version than the platform's.
    """
    written = []
    for use_case in packages(named):
        wanted = requirements_file(find_package(use_case))
        if wanted is None:
            raise SettingsError(f"use case {use_case!r}: has no requirements.txt; list there what it needs")
        target = wanted.with_suffix(".lock")
        options = ["--python-version", "3.11", "--constraint", str(LOCK), "--output-file", str(target)]
        done = _uv(*COMPILE, *options, str(wanted))
        if done.returncode:
            raise SettingsError(f"use case {use_case!r}: {wanted} cannot be locked: {_cause(done.stderr)}")
        target.write_text(f"{_made_from(wanted)}\n{target.read_text(encoding='utf-8')}", encoding="utf-8")
        written.append(target)
    return written


def with_own(named: str) -> str:
    """Those of the use cases named that have requirements of their own, separated by commas."""
    return ",".join(name for name in packages(named) if requirements_file(find_package(name)))


def install(named: str) -> None:
    """Install what the use cases named have locked, unless it is there; one that is broken is for others to report.

    Raises `SettingsError` for a lock that is missing or old, `FaultError` if the installation fails.
    """
    for use_case in packages(named):
        try:
            wanted = requirements_file(find_package(use_case))
        except SettingsError:  # Airflow's page and the command that loads it say what is wrong with it
            continue
        if wanted:
            install_lock(_current_lock(use_case, wanted))


def install_lock(locked: Path) -> None:
    """Install a lock's packages into `.venv`, unless they are there; `FaultError` if that fails."""
    stamp = STAMP.with_name(f"installed-{hashlib.sha256(locked.read_bytes()).hexdigest()[:16]}")
    if stamp.exists() and stamp.stat().st_mtime >= STAMP.stat().st_mtime:
        return  # since the platform was installed, which removes what is not its own
    print(f"  installing {locked}", flush=True)
    options = ["--python", str(VENV / "bin" / "python"), "--require-hashes", "--requirements", str(locked)]
    done = _uv("pip", "install", *options)
    if done.returncode:
        raise FaultError(f"{locked} was not installed: {_cause(done.stderr)}")
    stamp.touch()


def _current_lock(use_case: str, wanted: Path) -> Path:
    locked = wanted.with_suffix(".lock")
    first = locked.read_text(encoding="utf-8").partition("\n")[0] if locked.is_file() else "none"
    if first != _made_from(wanted):
        state = "has no lock" if first == "none" else "or the platform's lock has changed since it was locked"
        raise SettingsError(f"use case {use_case!r}: {wanted} {state}; run `make lock USE_CASE={wanted.parent}`")
    return locked


def _made_from(wanted: Path) -> str:
    """A lock's first line: the texts that it was made from."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in (wanted, LOCK)]
    return f"# {wanted.name} {digests[0]}, beside the platform's {LOCK.name} {digests[1]}; `make lock USE_CASE=…`"


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([find_uv(), *arguments], capture_output=True, text=True, check=False)


def _cause(told: str) -> str:
    """uv's reason in one line, without its drawing."""
    lines = [re.sub(r"^\W+", "", line) for line in told.splitlines()]
    return " ".join(line for line in lines if line).removeprefix("error: ") or "uv gave no reason"


def main() -> None:
    """Install what the use cases of this checkout have locked; nothing later needs the network."""
    try:
        install(default_use_cases())
    except StepError as error:
        print(masked(f"nightshift: {error}"), file=sys.stderr)
        raise SystemExit(int(error.exit_code)) from None


if __name__ == "__main__":
    main()
