"""Whether a contract is possible at all: its fault is reported when it is created, in one phrase."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, cast

from formats.partition import DATA_DAY
from include.quality import pattern
from include.quality.kind import Kind

if TYPE_CHECKING:
    from include.quality.contract import Column, Contract

WRITTEN = {
    Kind.TEXT: "texts",
    Kind.INTEGER: "whole numbers of 64 bits",
    Kind.NUMBER: "finite numbers",
    Kind.FLAG: "True or False",
    Kind.DATE: "dates (datetime.date)",
    Kind.INSTANT: "instants (datetime with a time zone)",
}
"""The Python types of a kind's values in a contract."""


def of_column(column: Column) -> str | None:
    """What is wrong with a column and the remedy; None if nothing is."""
    return next(_column_faults(column), None)


def of_contract(contract: Contract) -> str | None:
    """What is wrong with a contract of sound columns and the remedy; None if nothing is."""
    return next(_contract_faults(contract), None)


def _column_faults(column: Column) -> Iterator[str]:
    if not isinstance(column.name, str) or not column.name:
        yield "a column needs a name"
    elif column.name.lower() == DATA_DAY:
        yield "engines make a column of this name from a partition's folder; give it another, such as date"
    if not isinstance(column.kind, Kind):
        yield f"kind {column.kind!r} is none; give one of {', '.join(f'Kind.{kind.name}' for kind in Kind)}"
        return
    yield from _bound_faults(column)
    if not isinstance(column.one_of, tuple):
        yield f"one_of is a tuple, such as ({column.one_of!r},)"
        return
    for value in column.one_of:
        if not _is_value(value, column.kind):
            yield f"one_of has {value!r}; values of kind {column.kind} are {WRITTEN[column.kind]}"
    if column.pattern is not None:
        if column.kind is not Kind.TEXT:
            yield f"pattern is for texts, and this is of kind {column.kind}; leave it out"
        elif why := pattern.fault(column.pattern):
            yield (
                f"pattern {column.pattern!r} is not of RE2: {why}; write it without look-ahead, look-behind and "
                "back-references (docs/data-quality.md)"
            )
    yield from (
        f"one_of has {value!r}, which breaks another rule of the column; drop one of them" for value in _barred(column)
    )


def _bound_faults(column: Column) -> Iterator[str]:
    given = {name: bound for name in ("minimum", "maximum") if (bound := getattr(column, name)) is not None}
    for name, bound in given.items():
        if not column.kind.ordered:
            yield f"{name} is for amounts, dates and instants, and this is of kind {column.kind}; leave it out"
        elif not _is_value(bound, column.kind):
            yield f"{name} is {bound!r}; values of kind {column.kind} are {WRITTEN[column.kind]}"
    if len(given) == 2 and given["minimum"] > given["maximum"]:
        yield f"minimum {given['minimum']} is above maximum {given['maximum']}; exchange them"


def _barred(column: Column) -> Iterator[Any]:
    """The listed values that the column's other rules forbid."""
    low, high = cast("Any", column.minimum), cast("Any", column.maximum)
    for value in cast("tuple[Any, ...]", column.one_of):
        outside = (low is not None and value < low) or (high is not None and value > high)
        if outside or (column.pattern is not None and not pattern.fits(value, column.pattern)):
            yield value


def _is_value(value: Any, kind: Kind) -> bool:
    """Whether a value of Python's own is exactly one of the kind's."""
    if kind is Kind.TEXT:
        return isinstance(value, str) and "\x00" not in value and _is_utf8(value)
    if kind is Kind.FLAG:
        return isinstance(value, bool)
    if kind is Kind.DATE:
        return isinstance(value, date) and not isinstance(value, datetime)
    if kind is Kind.INSTANT:
        return isinstance(value, datetime) and value.tzinfo is not None and _is_in_range(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind is Kind.NUMBER or (value == int(value) and -(2**63) <= value < 2**63)


def _is_in_range(value: datetime) -> bool:
    try:
        Kind.INSTANT.scalar(value).as_py()
    except (OverflowError, ValueError):
        return False
    return True


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _contract_faults(contract: Contract) -> Iterator[str]:
    if not contract.columns:
        yield "it has no columns; list them"
    for name in _repeated(column.name.lower() for column in contract.columns):  # no engine tells cases apart
        yield f"column {name} is there twice; name each once"
    yield from _key_faults(contract)
    columns = {column.name: column for column in contract.columns}
    named = [("max_nulls", name) for name in contract.max_nulls]
    named += [("a reference", reference.column) for reference in contract.references]
    named += [("freshness", contract.freshness.column)] if contract.freshness else []
    for rule, name in named:
        if name not in columns:
            yield f"{rule} names column {name}, which it does not have; name one of {', '.join(columns)}"
    yield from _freshness_faults(contract)
    yield from _day_faults(contract)
    yield from _figure_faults(contract)


def _key_faults(contract: Contract) -> Iterator[str]:
    columns = {column.name: column for column in contract.columns}
    for what, names in (("key", contract.key), ("order", contract.order)):
        if not isinstance(names, tuple):
            yield f"{what} is a tuple of column names, such as ({names!r},)"
        elif not names:
            yield f"{what} is empty; name at least one column"
        else:
            for name in names:
                if name not in columns:
                    yield f"{what} names column {name}, which it does not have; name one of {', '.join(columns)}"
            for name in _repeated(names):
                yield f"{what} names column {name} twice; name it once"
    for name in contract.key:
        if not columns[name].required:
            yield f"column {name} is of the key and may be empty; make it required, or leave it out of the key"


def _freshness_faults(contract: Contract) -> Iterator[str]:
    if (rule := contract.freshness) is None:
        return
    kind = next(column.kind for column in contract.columns if column.name == rule.column)
    if kind is not Kind.INSTANT:
        yield f"freshness is of an instant, and column {rule.column} is of kind {kind}; name an instant"
    if rule.warn_after > rule.fail_after:
        yield f"freshness of {rule.column} warns after it fails; exchange warn_after and fail_after"


def _day_faults(contract: Contract) -> Iterator[str]:
    if not contract.day:
        return
    column = contract.day_column
    if column is None:
        names = ", ".join(column.name for column in contract.columns)
        yield f"day names column {contract.day}, which it does not have; name one of {names}"
    elif column.kind not in (Kind.DATE, Kind.INSTANT):
        yield f"day is a date or an instant, and column {column.name} is of kind {column.kind}; name another or None"


def _figure_faults(contract: Contract) -> Iterator[str]:
    shares = {"max_quarantined": contract.max_quarantined}
    shares |= {f"max_nulls[{name!r}]": share for name, share in contract.max_nulls.items()}
    shares |= {f"min_share of {rule.column}": rule.min_share for rule in contract.references}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            yield f"{name} is {share}; a share is from 0 to 1"
    if contract.min_rows < 0:
        yield f"min_rows is {contract.min_rows}; give 0 or more"
    low, high = contract.volume_band
    if contract.min_volume < 0 or not 0 <= low <= high:
        yield f"min_volume {contract.min_volume}, volume_band {low, high}: give ratios of 0 or more, the low one first"


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
