"""Findings of validation: failed checks, with rule, column, count and examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

MISSING = "missing"
"""The type of a missing column."""


class Severity(StrEnum):
    """The effect of a failed check on the run."""

    HARD = "hard"
    SOFT = "soft"


class Check(StrEnum):
    """The rules that a partition is held to."""

    NOT_EMPTY = "not_empty"
    COLUMNS = "columns"
    TYPE = "type"
    REQUIRED = "required"
    NULLS = "nulls"
    RANGE = "range"
    ONE_OF = "one_of"
    PATTERN = "pattern"
    DAY = "day"
    UNIQUE = "unique"
    REFERENCE = "reference"
    FRESHNESS = "freshness"
    VOLUME = "volume"


@dataclass(frozen=True)
class Finding:
    """One check that failed on one dataset: `broken` of `rows` rows, with a few of the values."""

    dataset: str
    check: Check
    column: str
    severity: Severity
    rows: int
    broken: int
    expected: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        examples = f", such as {', '.join(self.examples)}" if self.examples else ""
        return (
            f"{self.dataset}: rule {self.check}{column}: {self.broken} of {self.rows} rows{examples}; {self.expected}"
        )


@dataclass(frozen=True)
class QualityReport:
    """The findings in one partition, and in history that no run had checked before.

    `rows` and `history_rows` are the checked rows, `checks` how many expectations were evaluated.
    """

    partition: str
    rows: int
    history_days: int
    history_rows: int
    checks: int
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> Sequence[Finding]:
        """The findings that stop the run."""
        return [finding for finding in self.findings if finding.severity is Severity.HARD]

    @property
    def warnings(self) -> Sequence[Finding]:
        """The findings that do not."""
        return [finding for finding in self.findings if finding.severity is Severity.SOFT]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> QualityReport:
        """A report from `to_dict`'s data."""
        findings = tuple(
            Finding(
                **finding
                | {
                    "check": Check(finding["check"]),
                    "severity": Severity(finding["severity"]),
                    "examples": tuple(finding["examples"]),
                }
            )
            for finding in body["findings"]
        )
        return cls(**body | {"findings": findings})
