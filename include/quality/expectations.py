"""Contracts as Great Expectations suites. Imported only where Great Expectations is needed: that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from include.quality.contract import Contract, Reference
from include.quality.data_day import DataDay
from include.quality.findings import MISSING, Check
from include.quality.judged import RowCheck, nulls_column, row_checks
from include.quality.quiet_gx import Expectation, gxe

HARD, SOFT = "critical", "warning"


@dataclass(frozen=True)
class DayFacts:
    """What a day's partition is compared with: rows of a usual day (None: too few days to say), the day itself, and
    how many rows it must have at least."""

    usual_rows: float | None
    day: DataDay
    fewest_rows: int


def reference_column(column: str, other: str) -> str:
    """The name of a column that holds `column`'s values that `other` lacks, and null elsewhere."""
    return f"{column}_not_in_{other}"


def schema_expectations() -> list[Expectation]:
    """Of a table with one row per column: `column`, its `type`, and the one `expected`."""
    return [
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A="type",
            column_B="expected",
            ignore_row_if="neither",
            severity=HARD,
        )
    ]


def day_expectations(contract: Contract, facts: DayFacts, tolerated: float) -> list[Expectation]:
    """Of one day's judged rows; a share of up to `tolerated` may break a row rule (that is a warning)."""
    found = [_row_rule(check, tolerated) for check in row_checks(contract, facts.day.day)]
    found += [_share_of_nulls(name, most) for name, most in contract.max_nulls.items()]
    found.append(_unique(contract.key))
    for reference in contract.references:
        found += _referenced(reference)
    if facts.fewest_rows > 0:
        found.append(_not_empty(facts.fewest_rows))
    return [*found, *_fresh(contract, facts.day.ends), *_volume(contract, facts.usual_rows)]


def history_expectations(tolerated: float) -> list[Expectation]:
    """Of a table with one row per rule of a column over many days: `rule`, `column`, and the `share` that breaks it."""
    return [
        gxe.ExpectColumnValuesToBeBetween(column="share", max_value=tolerated, severity=HARD),
        gxe.ExpectColumnValuesToBeBetween(column="share", max_value=0, severity=SOFT),
    ]


def volume_expectations(contract: Contract) -> list[Expectation]:
    """Of a table with one row per day: `day`, `rows` and `ratio` to the usual (null: too few days before it)."""
    low, high = contract.volume_band
    meta = _meta(Check.VOLUME, "", f"each day within {low:g} … {high:g} times the median of the days before it")
    return [
        gxe.ExpectColumnValuesToBeBetween(column="ratio", min_value=low, max_value=high, severity=SOFT, meta=meta),
    ]


def arrow_types(contract: Contract, schema: pa.Schema) -> list[dict[str, str]]:
    """The rows of the table that `schema_expectations` speaks of."""
    given = {field.name: str(field.type) for field in schema}
    expected = {column.name: str(column.kind.arrow) for column in contract.columns}
    return [
        {"column": name, "type": given.get(name, MISSING), "expected": expected.get(name, MISSING)}
        for name in dict.fromkeys([*expected, *given])
    ]


def _meta(check: Check, column: str, expected: str) -> dict[str, Any]:
    return {"check": str(check), "column": column, "expected": expected}


def _row_rule(check: RowCheck, tolerated: float) -> Expectation:
    most = 0.0 if check.check is Check.REQUIRED else tolerated
    return _none(check.name, most, _meta(check.check, check.column, check.expected))


def _share_of_nulls(name: str, most: float) -> Expectation:
    return _none(nulls_column(name), most, _meta(Check.NULLS, name, f"at most {most:.0%} empty"))


def _none(breaking: str, most: float, meta: dict[str, Any]) -> Expectation:
    """A column of the judged frame must hold no value that breaks its rule, except for a share of the rows."""
    return gxe.ExpectColumnValuesToBeNull(
        column=breaking,
        mostly=round(1.0 - most, 9),
        severity=HARD,
        description=f"{meta['column']}: {meta['expected']}",
        meta=meta,
    )


def _unique(key: tuple[str, ...]) -> Expectation:
    meta = _meta(Check.UNIQUE, ", ".join(key), "no two rows alike")
    if len(key) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=key[0], severity=HARD, meta=meta)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(key), severity=HARD, meta=meta)


def _referenced(rule: Reference) -> Iterator[Expectation]:
    lacking = reference_column(rule.column, rule.other)
    for severity, share in ((HARD, rule.min_share), (SOFT, 1.0)):
        meta = _meta(Check.REFERENCE, rule.column, f"at least {share:.0%} of them are in {rule.other} of the same day")
        if share:
            yield gxe.ExpectColumnValuesToBeNull(column=lacking, mostly=share, severity=severity, meta=meta)


def _fresh(contract: Contract, day_end: datetime) -> Iterator[Expectation]:
    if (rule := contract.freshness) is None:
        return
    for severity, lag in ((HARD, rule.fail_after), (SOFT, rule.warn_after)):
        meta = _meta(Check.FRESHNESS, rule.column, f"the newest is at most {lag} older than the day's end")
        yield gxe.ExpectColumnMaxToBeBetween(column=rule.column, min_value=day_end - lag, severity=severity, meta=meta)


def _not_empty(fewest: int) -> Expectation:
    meta = _meta(Check.NOT_EMPTY, "", f"at least {fewest} rows, by the contract's min_rows")
    return gxe.ExpectTableRowCountToBeBetween(min_value=fewest, severity=HARD, meta=meta)


def _volume(contract: Contract, usual: float | None) -> Iterator[Expectation]:
    if usual is None:
        return
    low, high = contract.volume_band
    bounds = ((HARD, contract.min_volume * usual, None), (SOFT, low * usual, high * usual))
    for severity, least, most in bounds:
        span = f"at least {least:.0f}" + (f" and at most {most:.0f}" if most is not None else "")
        meta = _meta(Check.VOLUME, "", f"{span} rows, where a usual day has {usual:.0f}")
        yield gxe.ExpectTableRowCountToBeBetween(min_value=least, max_value=most, severity=severity, meta=meta)
