"""One mistake in a use case's package: which file, which field, what is wrong and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from include.errors import StepError
from include.excerpt import first_line
from include.failure import line_of


@dataclass(frozen=True)
class Mistake:
    """A mistake; `where` is a file of the package, with its line where that is known."""

    where: str
    field: str
    problem: str

    @classmethod
    def of(cls, error: Exception, package: str, file: str, field: str) -> Mistake:
        """The mistake behind an error of the package's own code, at the line where it came up."""
        said = first_line(error) if isinstance(error, StepError) else f"{type(error).__name__}: {first_line(error)}"
        return cls(line_of(error, package) or file, field, said)

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.problem}"


class MistakeError(Exception):
    """The package's own code failed; `mistake` says where, unless what it reads is away."""

    def __init__(self, mistake: Mistake | None) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake
