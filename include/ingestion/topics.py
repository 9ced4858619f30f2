"""Topics: what a collector may publish and a worker may store, as versioned schemas checked on both sides.

A message is one JSON object: the columns of its schema, `event_time` (when the record's content became known) and
`schema` (`<topic>/<version>`). Instants are written in UTC with a final Z, so that equal records are equal bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from include.errors import DataError
from include.ingestion.bulk_reader import LONGEST_TEXT, BulkReader
from include.ingestion.rules import Rule
from include.quality.contract import Column, Kind

SCHEMA = "schema"
EVENT_TIME = "event_time"
_DAY = r"\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|[12]\d))"
"""A day of the calendar; that it takes every year for a leap year is left to whoever reads the date."""
DATE = re.compile(rf"^{_DAY}$")
INSTANT = re.compile(rf"^{_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{1,6}})?Z$")
AS_WRITTEN = re.compile(rb'\{"schema":"([a-z0-9_/]{1,60})"')
"""How our own messages begin: their schema is known without reading them twice."""
EVENT_TIME_COLUMN = Column(EVENT_TIME, Kind.INSTANT)
VALUE_BYTES = 64 * 1024
"""No record is longer; whatever is cannot be one of ours."""

Record = dict[str, Any]
"""A message's JSON object: texts, numbers, flags and nulls; dates and instants as text."""


class PoisonError(DataError):
    """A message that can never be stored, and why."""


@dataclass(frozen=True)
class Topic:
    """One stream of records, what its versions look like and which table holds them.

    `key` is the column that keys messages (records of one key keep their order), `natural_key` the columns that
    identify a row, `day` the column that the table's daily partitions are cut by. An event may not lie further than
    `tolerance` from the record's `anchor`, an instant column: a sensor whose clock has jumped into the future would
    otherwise win over every later record. `rules` say what else must be true of a record.

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
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        for older, newer in pairwise(sorted(self.versions)):
            was, now = set(self.versions[older]), set(self.versions[newer])
            if was - now or any(column.required for column in now - was):
                raise DataError(f"topic {self.name}: version {newer} may only add optional columns to version {older}")

    @property
    def version(self) -> int:
        """The version that is published now."""
        return max(self.versions)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the newest version, which are the table's."""
        return self.versions[self.version]

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
        """A message's record, checked; `schema_id` is what its header says, where the broker has headers."""
        if len(value) > VALUE_BYTES:
            raise PoisonError(f"{len(value)} bytes, {VALUE_BYTES} at most")
        named = _schema_named(value)
        if schema_id is not None and schema_id != named:
            raise PoisonError(f"the header says schema {schema_id}, the record {named}")
        schema = self.schemas.get(named)
        if schema is None:
            raise PoisonError(f"schema {named:.60} is not known; known: {', '.join(self.schemas)}")
        return schema.read(value)

    def decode_all(self, values: Sequence[bytes], schema_ids: Collection[str | None] = ()) -> pa.Table | None:
        """The records of many messages, or None when there is any doubt about one: then they are decoded singly.

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
    """One version's columns, compiled into a check that is quick enough for every record."""

    def __init__(self, topic: Topic, schema_id: str, columns: Sequence[Column]) -> None:
        self.topic = topic
        self.schema_id = schema_id
        self.columns = columns
        fields = {SCHEMA: str, EVENT_TIME: _annotation(EVENT_TIME_COLUMN)}
        fields |= {column.name: _annotation(column) for column in columns}
        # A TypedDict made from data: pydantic validates it straight from the message's bytes.
        shape: Any = with_config(ConfigDict(extra="forbid", strict=True))(TypedDict("Message", fields))  # type: ignore[operator]
        self._adapter: TypeAdapter[Record] = TypeAdapter(shape)
        # These are read here or by the ledger; another instant that is none is left to the database.
        self._dates = tuple(column.name for column in columns if column.kind is Kind.DATE or column.name == topic.day)
        self._later = dict.fromkeys({column.name for column in topic.columns} - {column.name for column in columns})

    def read(self, value: bytes) -> Record:
        """The record in a message's bytes; `PoisonError` names the first thing that is wrong."""
        try:
            record = self._adapter.validate_json(value)
        except ValidationError as error:
            raise PoisonError(_first(error)) from None
        try:
            for name in self._dates:
                if record[name] is not None:
                    date.fromisoformat(record[name][:10])
            away = datetime.fromisoformat(record[EVENT_TIME]) - datetime.fromisoformat(record[self.topic.anchor])
            broken = next(filter(None, (rule.broken(record) for rule in self.topic.rules)), None)
        except ValueError as error:
            raise PoisonError(f"no such day or time: {error}") from None
        if abs(away) > self.topic.tolerance:
            raise PoisonError(f"event_time is {away} from {self.topic.anchor}, {self.topic.tolerance} at most")
        if broken is not None:
            raise PoisonError(broken)
        return record | self._later if self._later else record

    @cached_property
    def bulk(self) -> BulkReader:
        """The same check for many messages at once."""
        listed = [column for column in self.columns if column.one_of or column.pattern]
        return BulkReader(
            schema=Column(SCHEMA, Kind.TEXT, one_of=(self.schema_id,)),
            event_time=EVENT_TIME_COLUMN,
            columns=self.columns,
            valid={SCHEMA: self.schema_id.__eq__} | {column.name: _validity(column) for column in listed},
            anchor=self.topic.anchor,
            tolerance=self.topic.tolerance,
            rules=self.topic.rules,
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


def _validity(column: Column) -> Callable[[Any], bool]:
    adapter: TypeAdapter[Any] = TypeAdapter(_annotation(column))

    def valid(value: Any) -> bool:
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError:
            return False
        return True

    return valid


def _annotation(column: Column) -> Any:
    kind: Any = {
        Kind.TEXT: Annotated[str, Field(max_length=LONGEST_TEXT, pattern=column.pattern and f"^(?:{column.pattern})$")],
        Kind.INTEGER: Annotated[int, Field(ge=column.minimum, le=column.maximum)],
        Kind.NUMBER: Annotated[float, Field(ge=column.minimum, le=column.maximum, allow_inf_nan=False)],
        Kind.FLAG: bool,
        Kind.DATE: Annotated[str, Field(pattern=DATE.pattern)],
        Kind.INSTANT: Annotated[str, Field(pattern=INSTANT.pattern)],
    }[column.kind]
    if column.one_of:
        kind = Annotated[str, Field(pattern=f"^({'|'.join(map(re.escape, column.one_of))})$")]
    elif column.kind is Kind.TEXT and not column.pattern:
        kind = Annotated[
            str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=r"^[^\x00]*$")
        ]  # PostgreSQL stores no NUL
    return kind if column.required else kind | None


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'message'}: {first['msg']}"
