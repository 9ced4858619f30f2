"""The result of `make check` for a use case: its findings, and whether a clean result is a proof."""

from __future__ import annotations

from dataclasses import dataclass

from include.check.finding import Mistake
from include.errors import ExitCode


@dataclass(frozen=True)
class CheckVerdict:
    """The findings on a package, those on its features and labels, and the doubts that keep these from being a proof.

    `looked_at` says which data; empty where the package's own mistakes came first. `notes` say what else was done or
    left, and `times` how long each part took.
    """

    package: str
    mistakes: tuple[Mistake, ...]
    seconds: float
    leaks: tuple[Mistake, ...] = ()
    doubts: tuple[str, ...] = ()
    looked_at: str = ""
    notes: tuple[str, ...] = ()
    times: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """78 for a mistake of the package, 65 for a finding on its features, or if nothing could be proved."""
        if self.mistakes:
            return ExitCode.BAD_SETTINGS
        return ExitCode.BAD_DATA if self.leaks or self.doubts else ExitCode.DONE

    def lines(self, *, verbose: bool = False) -> list[str]:
        """A line a finding, then the verdict."""
        found = [f"  {finding}" for finding in (*self.mistakes, *self.leaks)]
        found += [f"  inconclusive: {doubt}" for doubt in self.doubts]
        if verbose:
            found += [f"  {note}" for note in self.notes] + [f"  {self.times}"] * bool(self.times)
        number = len(self.mistakes) + len(self.leaks)
        words = f"{number} finding{'s' * (number != 1)}" + ", inconclusive" * bool(self.doubts)
        on = f" on {self.looked_at}" if self.looked_at else ""
        return [*found, f"{self.package}: {words}{on} ({self.seconds:.1f} s)"]
