"""Streams: what a collector may publish and a worker may store, as versioned schemas checked on both sides.

A message is one JSON object: the columns of its schema, `event_time` (when the record's content became known) and
`schema` (`<topic>/<version>`). Instants are written in UTC with a final Z, so that equal records are equal bytes. A
value that others write in another way (a time with an offset, 50.0 as an integer) is read as anywhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from itertools import pairwise
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from include.errors import DataError
from include.excerpt import excerpt
from include.ingestion.bulk_reader import BulkReader
from include.ingestion.rules import NearDay, RecordRule
from include.quality.breaches import judge
from include.quality.contract import Column, Kind
from include.quality.pattern import fits

SCHEMA = "schema"
EVENT_TIME = "event_time"
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z$"
"""The form in our own messages; Python checks that calendar and clock have such a value."""
AS_WRITTEN = re.compile(rb'\{"schema":"([a-z0-9_/]{1,60})"')
"""How our own messages begin: their schema is known without reading them twice."""
EVENT_TIME_COLUMN = Column(EVENT_TIME, Kind.INSTANT)
VALUE_BYTES = 64 * 1024
"""No valid record is longer."""
INTEGERS = (-(2**63), 2**63 - 1)
SHAPE_FAULTS = ("missing", "extra_forbidden")
"""Pydantic's words for columns that are not there, or should not be."""
SHOWN = 60
"""Letters of a message that a reason quotes."""
TABLE = r"[a-z][a-z0-9_]{0,49}"
"""A table's name: its partitions add their day to it, and PostgreSQL keeps 63 letters."""
KEY_LETTERS = 200
"""No key is longer: PostgreSQL indexes none of some 2,700 bytes."""

Record = dict[str, Any]
"""A message's JSON object: texts, numbers, flags and nulls; dates and instants as text."""


class PoisonError(DataError):
    """A message that can never be stored, and why."""


@dataclass(frozen=True)
class Stream:
    """One stream of records, what its versions look like and which table holds them.

    `key` is the column that keys messages (records of one key keep their order), `natural_key` the columns that
    identify a row, `day` the column that the table's daily partitions are cut by. An event may differ from
    the record's `anchor`, an instant column, by at most `tolerance`: otherwise a sensor whose clock jumped into the
    future would win over every later record. Its `day` may differ by at most one day, because it makes a partition.
    `rules` say what else must be true of a record.

    A new version may add optional columns, nothing else: then old records are still rows of the newest version.
    """

    name: str
    title: str
    table: str
    key: str
    natural_key: tuple[str, ...]
    day: str
    anchor: str
    tolerance: timedelta
    versions: Mapping[int, tuple[Column, ...]]
    rules: tuple[RecordRule, ...] = ()

    def __post_init__(self) -> None:
        for older, newer in pairwise(sorted(self.versions)):
            was, now = set(self.versions[older]), set(self.versions[newer])
            if was - now or any(column.required for column in now - was):
                raise DataError(f"topic {self.name}: version {newer} may only add optional columns to version {older}")
        columns = {column.name: column for column in self.columns}
        for what, name in (("key", self.key), ("day", self.day), ("anchor", self.anchor)):
            self._require(what, name, columns)
        for name in self.natural_key:
            self._require("natural_key", name, columns)
        if columns[self.anchor].kind is not Kind.INSTANT:
            raise DataError(f"topic {self.name}: anchor {self.anchor} is no instant; name one")
        if columns[self.day].kind not in (Kind.DATE, Kind.INSTANT):
            raise DataError(f"topic {self.name}: day {self.day} is no date and no instant; name one")
        if self.day not in self.natural_key:
            raise DataError(f"topic {self.name}: natural_key lacks {self.day}, which cuts its table; add it")
        if not re.fullmatch(TABLE, self.table):
            raise DataError(f"topic {self.name}: table {self.table!r} is no name of {TABLE}; write it so")
        if own := {SCHEMA, EVENT_TIME} & columns.keys():
            raise DataError(f"topic {self.name}: column {min(own)} is every message's own; name it otherwise")

    def _require(self, what: str, name: str, columns: Mapping[str, Column]) -> None:
        if name not in columns or not columns[name].required:
            fault = "may be empty" if name in columns else "is not there"
            required = ", ".join(column.name for column in columns.values() if column.required)
            raise DataError(f"topic {self.name}: {what} names column {name}, which {fault}; name one of {required}")

    @property
    def checks(self) -> tuple[RecordRule, ...]:
        """The rules, and what holds for every topic."""
        return self.rules if self.day == self.anchor else (NearDay(self.day, self.anchor), *self.rules)

    @property
    def version(self) -> int:
        """The version that is published now."""
        return max(self.versions)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the newest version, which are the table's."""
        return self.versions[self.version]

    @property
    def day_kind(self) -> Kind:
        """Whether `day` is a date or an instant."""
        return next(column.kind for column in self.columns if column.name == self.day)

    @property
    def schema_id(self) -> str:
        """What a message of the newest version says it is."""
        return f"{self.name}/{self.version}"

    @cached_property
    def schemas(self) -> Mapping[str, Schema]:
        """The schemas by id."""
        return {
            schema_id: Schema(self, schema_id, columns)
            for schema_id, columns in ((f"{self.name}/{version}", each) for version, each in self.versions.items())
        }

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """A record (dates and instants as Python's own) as a message; `PoisonError` when it breaks the schema."""
        body = {SCHEMA: self.schema_id, EVENT_TIME: _text(record[EVENT_TIME])}
        body |= {column.name: _text(record.get(column.name)) for column in self.columns}
        value = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        self.decode(value, self.schema_id)
        return value

    def decode(self, value: bytes, schema_id: str | None = None) -> Record:
        """A message's record, checked; `schema_id` is its header, if the broker has headers."""
        if len(value) > VALUE_BYTES:
            raise PoisonError(f"{len(value)} bytes, {VALUE_BYTES} at most")
        named = _schema_named(value)
        if schema_id is not None and schema_id != named:
            told = f"the header says schema {excerpt(schema_id, SHOWN)}, the record {excerpt(named, SHOWN)}"
            raise PoisonError(told)
        schema = self.schemas.get(named)
        if schema is None:
            raise PoisonError(f"schema {excerpt(named, SHOWN)} is not known; known: {', '.join(self.schemas)}")
        return schema.read(value)

    def decode_all(self, values: Sequence[bytes], schema_ids: Collection[str | None] = ()) -> pa.Table | None:
        """The records of many messages, or None if one may be invalid: then they are decoded one by one.

        The columns are texts, as messages write them, numbers and flags; those of an older version are not made up.
        """
        begins = AS_WRITTEN.match(values[0]) if values else None
        schema = self.schemas.get(begins[1].decode()) if begins else None
        if schema is None or any(named not in (None, schema.schema_id) for named in schema_ids):
            return None
        return schema.bulk.read(values)

    def key_of(self, record: Record) -> bytes:
        """The key of a record's message."""
        return str(record[self.key]).encode()


class Schema:
    """One version's columns, compiled into a check that is fast enough for every record."""

    def __init__(self, topic: Stream, schema_id: str, columns: Sequence[Column]) -> None:
        self.topic = topic
        self.schema_id = schema_id
        self.columns = columns
        self._columns = {column.name: column for column in (EVENT_TIME_COLUMN, *columns)}
        fields = {SCHEMA: str} | {name: _annotation(column) for name, column in self._columns.items()}
        self._checks = topic.checks
        # A TypedDict made from data: pydantic validates it straight from the message's bytes.
        shape: Any = with_config(ConfigDict(extra="forbid", strict=True))(TypedDict("Message", fields))  # type: ignore[operator]
        self._adapter: TypeAdapter[Record] = TypeAdapter(shape)
        self._keys = keys_of(topic, columns)
        self._later = dict.fromkeys({column.name for column in topic.columns} - {column.name for column in columns})

    def read(self, value: bytes) -> Record:
        """The record in a message's bytes; `PoisonError` names the first thing that is wrong."""
        try:
            record = self._adapter.validate_json(value)
        except ValidationError as error:
            record = self._read_closely(value, error)
        if _columns_written(value) != len(record):
            raise PoisonError("a column comes twice")
        for name in self._keys:
            if len(record[name]) > KEY_LETTERS:
                raise PoisonError(f"{name} has {len(record[name])} letters, {KEY_LETTERS} at most")
        away = datetime.fromisoformat(record[EVENT_TIME]) - datetime.fromisoformat(record[self.topic.anchor])
        if abs(away) > self.topic.tolerance:
            raise PoisonError(f"event_time is {away} from {self.topic.anchor}, {self.topic.tolerance} at most")
        if broken := next(filter(None, (rule.broken(record) for rule in self._checks)), None):
            raise PoisonError(broken)
        return record | self._later if self._later else record

    def _read_closely(self, value: bytes, error: ValidationError) -> Record:
        """The record of a message that is not written like ours: unusual values are judged like those of a file."""
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        odd = {fault["loc"][0] for fault in faults if len(fault["loc"]) == 1 and fault["type"] not in SHAPE_FAULTS}
        if len(odd) < len(faults) or not odd <= self._columns.keys():
            raise PoisonError(_first(error))
        body = json.loads(value, parse_int=Figure, parse_float=Figure, parse_constant=Figure)
        judged = {name: _judged(self._columns[name], body[name]) for name in self._columns if name in odd}
        plain = {name: _plain(column, body[name]) for name, column in self._columns.items() if name not in odd}
        return {SCHEMA: body[SCHEMA]} | plain | judged

    @cached_property
    def bulk(self) -> BulkReader:
        """The same check for many messages at once."""
        return BulkReader(
            schema=Column(SCHEMA, Kind.TEXT, one_of=(self.schema_id,)),
            event_time=EVENT_TIME_COLUMN,
            columns=self.columns,
            keys=self._keys,
            anchor=self.topic.anchor,
            tolerance=self.topic.tolerance,
            rules=self._checks,
            longest_key=KEY_LETTERS,
            longest=VALUE_BYTES,
        )


def instant(moment: datetime) -> str:
    """An instant as messages write it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    return value.isoformat() if isinstance(value, date) else value


def _schema_named(value: bytes) -> str:
    if begins := AS_WRITTEN.match(value):
        return begins[1].decode()
    try:
        named = json.loads(value)[SCHEMA]
    except UnicodeDecodeError:
        raise PoisonError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise PoisonError("not JSON") from None
    except (KeyError, TypeError, IndexError):
        raise PoisonError("no schema is named") from None
    return str(named)


def keys_of(topic: Stream, columns: Sequence[Column]) -> tuple[str, ...]:
    """The text columns that a message or a row is found by."""
    return tuple(
        each.name for each in columns if each.kind is Kind.TEXT and each.name in (topic.key, *topic.natural_key)
    )


def _columns_written(value: bytes) -> int:
    """How many columns an object has as it is written: a parser keeps one of two that have the same name."""
    return len(json.loads(value, object_pairs_hook=list, parse_int=str, parse_float=str))


def _annotation(column: Column) -> Any:
    """What pydantic accepts directly: values as our own messages write them, within the column's rules."""
    kind: Any = {
        Kind.TEXT: Annotated[str, Field(min_length=int(column.required), pattern=r"^[^\x00]*$")],
        Kind.INTEGER: Annotated[int, Field(ge=INTEGERS[0], le=INTEGERS[1])],
        Kind.NUMBER: Annotated[float, Field(allow_inf_nan=False)],
        Kind.FLAG: bool,
        Kind.DATE: Annotated[str, Field(pattern=DATE)],
        Kind.INSTANT: Annotated[str, Field(pattern=INSTANT)],
    }[column.kind]
    if column.kind in (Kind.INTEGER, Kind.NUMBER):
        kind = Annotated[kind, Field(ge=column.minimum, le=column.maximum)]
    if column.kind in (Kind.DATE, Kind.INSTANT) or column.one_of or column.pattern is not None:
        kind = Annotated[kind, AfterValidator(partial(_kept, column))]
    return kind if column.required else kind | None


def _kept(column: Column, value: Any) -> Any:
    """The value, if it keeps the rules that pydantic does not know; `ValueError` if it does not."""
    known: Any = value
    if column.kind is Kind.DATE:
        known = date.fromisoformat(value)
    elif column.kind is Kind.INSTANT:
        known = datetime.fromisoformat(value)
    if column.one_of and known not in column.one_of:
        raise ValueError("not listed")
    if column.pattern is not None and not fits(value, column.pattern):
        raise ValueError("no match")
    if known < (known if column.minimum is None else column.minimum):
        raise ValueError("too low")
    if known > (known if column.maximum is None else column.maximum):
        raise ValueError("too high")
    return value


class Figure(str):
    """A number as a message writes it, all its digits."""


def _judged(column: Column, given: Any) -> Any:
    """A value of a message as our own messages write it; `PoisonError` when it breaks a rule of its column."""
    values, breaches = judge(column, _array(column, given))
    if breaches:
        raise PoisonError(breaches[0].reason)
    return _text(values[0].as_py())


def _array(column: Column, given: Any) -> pa.Array:
    if isinstance(given, Figure):
        return pa.array([str(given)]) if column.kind in (Kind.INTEGER, Kind.NUMBER, Kind.FLAG) else pa.array([0])
    return pa.array([[]]) if isinstance(given, list | dict) else pa.array([given])


def _plain(column: Column, given: Any) -> Any:
    """A value that pydantic has passed, as it would have read it."""
    if isinstance(given, Figure):
        return int(given) if column.kind is Kind.INTEGER else float(given)
    return given


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{excerpt(where or 'message', SHOWN)}: {first['msg']}"
