"""Reading values as a kind: what the kind's Arrow type represents exactly is accepted, nothing else is guessed.

Every reader of records asks this module, so CSV, Parquet and messages agree on what a value is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.quality.kind import Kind

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
Numbers = npt.NDArray[np.int64]

TRUE, FALSE = ("true", "t", "yes"), ("false", "f", "no")
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
PLAIN_INTEGER = r"^[+-]?\d{1,18}$"
DAY = r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
DATE = rf"^{DAY}(?:[Tt ]00:00(?::00(?:\.0+)?)?)?$"
TIME = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?:[.,](?P<fraction>\d{1,6})0*)?)?"
ZONE = r"(?:[Zz]|UTC|GMT|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3])(?::?(?P<minutes>[0-5]\d)(?::?(?P<seconds>[0-5]\d))?)?)"
INSTANT = rf"^{DAY}[Tt ]{TIME} ?{ZONE}$"
LONGEST_NUMBER = 4_000
"""Letters of a number: no reader of JSON accepts many more."""
MICROSECONDS = 1_000_000
SECONDS_A_DAY = 86_400
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31, in days since 1970: the years that Python, Spark and PostgreSQL share."""
A_SECOND = {"s": 1, "ms": 1_000, "us": MICROSECONDS, "ns": 1_000_000_000}


def read_as(given: pa.Array, kind: Kind) -> tuple[pa.Array, Mask]:
    """The values as a kind's Arrow type, and which of them cannot be (null there). NaN is no value."""
    if pa.types.is_null(given.type):
        return pa.nulls(len(given), kind.arrow), np.zeros(len(given), dtype=bool)
    if pa.types.is_floating(given.type):
        given = given.cast(pa.float64())
        given = pc.if_else(pc.is_nan(given), pa.scalar(None, pa.float64()), given)
    wanted = _READERS[kind](given)
    lost = pc.and_(pc.is_valid(given), pc.is_null(wanted))
    return wanted, lost.to_numpy(zero_copy_only=False)


def _text(given: pa.Array) -> pa.Array:
    if not _is_text(given.type):
        return _nothing(given, Kind.TEXT)
    texts = _sound(given)
    # PostgreSQL stores no NUL, and many tools end a text there.
    return _only(texts, pc.invert(pc.match_substring(texts, "\x00")), pa.string())


def _integer(given: pa.Array) -> pa.Array:
    if pa.types.is_uint64(given.type):
        return _only(given, pc.less_equal(given, pa.scalar(2**63 - 1, pa.uint64())), pa.int64())
    if pa.types.is_integer(given.type):
        return given.cast(pa.int64())
    if pa.types.is_floating(given.type):
        in_range = pc.and_(pc.greater_equal(given, -(2.0**63)), pc.less(given, 2.0**63))
        return _only(given, pc.and_(pc.equal(pc.floor(given), given), in_range), pa.int64(), safe=False)
    if (texts := _written(given)) is None:
        return _nothing(given, Kind.INTEGER)
    texts = pc.replace_substring_regex(texts, r"^([+-]?\d+)\.0*$", r"\1")
    plain = pc.match_substring_regex(texts, PLAIN_INTEGER)
    found = _only(pc.replace_substring_regex(texts, r"^\+", ""), plain, pa.int64())
    odd = pc.and_(pc.is_valid(texts), pc.invert(plain))
    if not pc.any(odd).as_py():
        return found
    return pc.replace_with_mask(found, odd, pa.array(map(_whole, texts.filter(odd).to_pylist()), pa.int64()))


def _whole(text: str) -> int | None:
    """The integer of 64 bits that a decimal number is, if it is one."""
    if re.fullmatch(NUMBER, text, re.ASCII) is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if number and not 0 <= number.adjusted() < 19:
        return None
    whole = int(number)
    return whole if whole == number and -(2**63) <= whole < 2**63 else None


def _number(given: pa.Array) -> pa.Array:
    """The nearest of the floats of 64 bits; there is one zero."""
    if pa.types.is_integer(given.type) or pa.types.is_floating(given.type):
        numbers = given.cast(pa.float64(), safe=False)
    elif (texts := _written(given)) is not None:
        bare = pc.replace_substring_regex(texts, r"^\+", "")
        numbers = _only(bare, pc.match_substring_regex(texts, NUMBER), pa.float64())
    else:
        return _nothing(given, Kind.NUMBER)
    return _only(pc.add(numbers, 0.0), pc.is_finite(numbers), pa.float64())


def _flag(given: pa.Array) -> pa.Array:
    if pa.types.is_boolean(given.type):
        return given
    number = _integer(given)
    found = _only(number, pc.is_in(number, pa.array([0, 1])), pa.bool_())
    if not _is_text(given.type):
        return found
    word = pc.utf8_lower(_trimmed(given))
    found = pc.if_else(pc.is_in(word, pa.array(TRUE)), True, found)
    return pc.if_else(pc.is_in(word, pa.array(FALSE)), False, found)


def _date(given: pa.Array) -> pa.Array:
    if pa.types.is_date32(given.type):
        days = _counts(given.cast(pa.int32()))
        return _days(days, given.is_valid())
    if pa.types.is_date64(given.type):
        given = given.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(given.type) and given.type.tz is None:
        # A moment is a day only if it is midnight.
        days, rest = np.divmod(_counts(given), SECONDS_A_DAY * A_SECOND[given.type.unit])
        return _days(days, pc.and_(given.is_valid(), pa.array(rest == 0)))
    if not _is_text(given.type):
        return _nothing(given, Kind.DATE)
    parts = _Parts(_trimmed(given), DATE)
    days, there = parts.days()
    return _days(days, pc.and_(parts.found, pa.array(there)))


def _instant(given: pa.Array) -> pa.Array:
    # Without a zone an instant is not known, so such values are of another type.
    if pa.types.is_timestamp(given.type) and given.type.tz is not None:
        seconds, rest = np.divmod(_counts(given), A_SECOND[given.type.unit])
        micros, finer = np.divmod(rest * MICROSECONDS, A_SECOND[given.type.unit])
        return _moments(seconds, micros, pc.and_(given.is_valid(), pa.array(finer == 0)))
    if not _is_text(given.type):
        return _nothing(given, Kind.INSTANT)
    parts = _Parts(_trimmed(given), INSTANT)
    days, there = parts.days()
    away = parts.number("hours") * 3600 + parts.number("minutes") * 60 + parts.number("seconds")
    west = pc.equal(parts.text("sign"), "-").to_numpy(zero_copy_only=False)
    of_day = parts.number("hour") * 3600 + parts.number("minute") * 60 + parts.number("second")
    seconds = days * SECONDS_A_DAY + of_day + np.where(west, away, -away)
    return _moments(seconds, parts.micros(), pc.and_(parts.found, pa.array(there)))


_READERS: dict[Kind, Callable[[pa.Array], pa.Array]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.FLAG: _flag,
    Kind.DATE: _date,
    Kind.INSTANT: _instant,
}


class _Parts:
    """The named groups of an expression in texts; a part that a text does not have is 0."""

    def __init__(self, texts: pa.Array, expression: str) -> None:
        groups = pc.extract_regex(texts, expression)
        self.found = groups.is_valid()
        self._groups = groups

    def text(self, name: str) -> pa.Array:
        """A group's texts, empty where there is none."""
        return pc.fill_null(pc.struct_field(self._groups, name), "")

    def number(self, name: str) -> Numbers:
        """A group's numbers."""
        digits = self.text(name)
        return _counts(pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()))

    def micros(self) -> Numbers:
        """The microseconds of a group `fraction`."""
        return _counts(pc.utf8_rpad(self.text("fraction"), 6, "0").cast(pa.int64()))

    def days(self) -> tuple[Numbers, Mask]:
        """Days since 1970, and whether the calendar has such a day."""
        year, month, day = (self.number(name) for name in ("year", "month", "day"))
        first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
        length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
        days = first.astype("datetime64[D]").astype(np.int64) + day - 1
        return days, (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)


def _days(days: Numbers, valid: pa.Array) -> pa.Array:
    """Dates by their days since 1970, those that the calendar of four digits has."""
    known = (days >= FIRST_DAY) & (days <= LAST_DAY) & valid.to_numpy(zero_copy_only=False)
    return pa.array(np.where(known, days, 0).astype(np.int32), mask=~known).cast(pa.date32())


def _moments(seconds: Numbers, micros: Numbers, valid: pa.Array) -> pa.Array:
    """Instants by their seconds since 1970 and microseconds of the second, of the years 1 to 9999."""
    day = seconds // SECONDS_A_DAY
    known = (day >= FIRST_DAY) & (day <= LAST_DAY) & valid.to_numpy(zero_copy_only=False)
    moments = np.where(known, seconds, 0) * MICROSECONDS + micros
    return pa.array(np.where(known, moments, 0), mask=~known).cast(Kind.INSTANT.arrow)


def _counts(given: pa.Array) -> Numbers:
    """What an array of numbers, dates or timestamps counts, 0 where it is null."""
    return np.asarray(pc.fill_null(given.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), np.int64)


def _nothing(given: pa.Array, kind: Kind) -> pa.Array:
    return pa.nulls(len(given), kind.arrow)


def _only(given: pa.Array, fits: pa.Array, wanted: pa.DataType, *, safe: bool = True) -> pa.Array:
    return pc.if_else(fits, given, pa.scalar(None, given.type)).cast(wanted, safe=safe)


def _is_text(given: pa.DataType) -> bool:
    return bool(pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given))


def _written(given: pa.Array) -> pa.Array | None:
    """Numbers as decimal texts: texts as they are, decimals in all their digits; None for anything else."""
    if pa.types.is_decimal(given.type):
        return given.cast(pa.string())
    if not _is_text(given.type):
        return None
    texts = _trimmed(given)
    return pc.if_else(pc.less_equal(pc.binary_length(texts), LONGEST_NUMBER), texts, "")


def _trimmed(given: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(_sound(given))


def _sound(given: pa.Array) -> pa.Array:
    """Texts without those whose bytes are no UTF-8: Parquet files are not checked for that."""
    texts = given.cast(pa.string()) if not pa.types.is_string(given.type) else given
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array(map(_decoded, texts.cast(pa.binary()).to_pylist()), pa.string())
    return texts


def _decoded(content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        return None
