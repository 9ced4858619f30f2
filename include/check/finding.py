"""One mistake in a use case's package: which file, which field, what is wrong and what to do."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mistake:
    """A mistake; `where` is a file of the package, with its line where that is known."""

    where: str
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.problem}"


def line_of(error: BaseException, package: str) -> str:
    """The file and line of a package at which an error came up; empty where none of its lines did."""
    folder = str(Path(*package.split(".")))
    lines = [at for at in traceback.extract_tb(error.__traceback__) if Path(at.filename).parent.match(folder)]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else ""
