"""What the platform calls of a package besides its labels and features: the source, streams and locations.

Each is called once, as a step would, and its answer is held to what the step reads of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from itertools import islice
from typing import Any
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc

from formats.lookup import LOCATION
from include.check.finding import Mistake, MistakeError
from include.check.sample import CheckSample
from include.errors import FaultError
from include.ingestion.collector import TimedRecord, message
from include.ingestion.streams import EVENT_TIME, PoisonError, Stream
from include.step import Context

LOOKUP, SOURCES, STREAMS = "lookup.py", "sources.py", "streams.py"
EVENTS = 200
"""This many events of a day are checked against their stream's schema."""
BOUNDS = {"latitude": 90.0, "longitude": 180.0}


def check_called(context: Context, sample: CheckSample) -> Iterator[Mistake]:
    """Findings on `lookup.LOOKUP.locations`, `sources.source`, `sources.sample` and `streams.events`."""
    for part in (_source, _lookup, _streams):
        try:
            yield from part(context, sample)
        except MistakeError as error:
            if error.mistake:
                yield error.mistake


def _source(context: Context, _: CheckSample) -> Iterator[Mistake]:
    function = context.use_case.part("sources").source
    yield from _is_source(_call(context, SOURCES, "source", lambda: function(context.settings)), "source")


def _is_source(source: Any, field: str) -> Iterator[Mistake]:
    for name in ("first_day", "last_day"):
        if type(getattr(source, name, None)) is not date:
            yield Mistake(SOURCES, field, f"answers a {type(source).__name__} without {name}; give it a date")
    if not callable(getattr(source, "read", None)):
        yield Mistake(SOURCES, field, f"answers a {type(source).__name__} without read(topic, day); add it")


# Locations


def _lookup(context: Context, sample: CheckSample) -> Iterator[Mistake]:
    if not context.use_case.has_part("lookup"):
        return
    lookup = context.use_case.part("lookup").LOOKUP
    field = "LOOKUP.locations"
    if not callable(lookup.locations):
        yield Mistake(LOOKUP, field, f"is a {type(lookup.locations).__name__}; name a function that answers a table")
        return
    table = _call(context, LOOKUP, field, lookup.locations)
    if not isinstance(table, pa.Table):
        yield Mistake(LOOKUP, field, f"answers a {type(table).__name__}; answer a pyarrow Table")
        return
    if lacking := [name for name in LOCATION if name not in table.column_names]:
        yield Mistake(LOOKUP, field, f"answers no column {lacking[0]}; answer {', '.join(LOCATION)}")
        return
    if problems := list(_kinds(table)):
        yield from (Mistake(LOOKUP, f"{field}: {name}", problem) for name, problem in problems)
        return
    yield from (Mistake(LOOKUP, f"{field}: {name}", problem) for name, problem in _values(table))
    yield from _places(context, sample, table, lookup.places)


def _kinds(table: pa.Table) -> Iterator[tuple[str, str]]:
    for name in LOCATION:
        kind = table.schema.field(name).type
        if name in BOUNDS and not pa.types.is_floating(kind):
            yield name, f"is a {kind}; answer double, in degrees"
        elif name not in BOUNDS and not (pa.types.is_string(kind) or pa.types.is_null(kind)):
            yield name, f"is a {kind}; answer string"


def _values(table: pa.Table) -> Iterator[tuple[str, str]]:
    codes = table["code"]
    if codes.null_count:
        yield "code", f"is empty in {codes.null_count} rows; leave out what has no code"
    twice = pc.value_counts(codes.drop_null()).filter(pc.greater(pc.value_counts(codes.drop_null()).field("counts"), 1))
    if len(twice):
        yield "code", f"{twice[0]['values'].as_py()} comes {twice[0]['counts'].as_py()} times; answer one row for each"
    for name, most in BOUNDS.items():
        if pc.any(pc.greater(pc.abs(table[name]), most)).as_py():
            yield name, f"goes beyond {most:.0f} degrees; correct the unit or the column"
    zones = set(table["time_zone"].drop_null().unique().to_pylist())
    if unknown := sorted(zones - available_timezones()):
        yield "time_zone", f"{unknown[0]} is no time zone; write an IANA name, or leave it empty"


def _places(context: Context, sample: CheckSample, table: pa.Table, places: tuple[str, ...]) -> Iterator[Mistake]:
    if sample.made_up:
        return
    examples = sample.world[context.use_case.spec.examples].table
    for name in places:
        if name in examples.column_names and len(examples):
            known = pc.is_in(examples[name], value_set=table["code"].combine_chunks())
            if not pc.any(known).as_py():
                said = f"knows none of the examples' {name}, such as {examples[name][0].as_py()}; answer their codes"
                yield Mistake(LOOKUP, "LOOKUP.locations: code", said)


# Streams


def _streams(context: Context, sample: CheckSample) -> Iterator[Mistake]:
    """What a collector publishes, where the package has one: `sources.sample` and `streams.events`."""
    if not context.use_case.has_part("streams"):
        return
    streams, sources = context.use_case.part("streams"), context.use_case.part("sources")
    if not (hasattr(sources, "sample") and hasattr(streams, "events")):
        return
    source = _call(context, SOURCES, "sample", lambda: sources.sample(context.settings, live=False))
    if problems := list(_is_source(source, "sample")):
        yield from problems
        return
    day = min(max(sample.day, source.first_day), source.last_day)
    for name, stream in streams.STREAMS.items():
        made = _call(context, STREAMS, f"events of {name}", partial(_first, streams.events, source, name, day))
        yield from islice(_events(stream, made), 1)


def _first(events: Callable[[Any, str, date], Iterable[Any]], source: Any, topic: str, day: date) -> list[Any]:
    return list(islice(events(source, topic, day), EVENTS))


def _events(stream: Stream, events: Sequence[Any]) -> Iterator[Mistake]:
    field = f"events of {stream.name}"
    for event in events:
        if not isinstance(event, TimedRecord):
            yield Mistake(STREAMS, field, f"answers a {type(event).__name__}; answer TimedRecord(at, record)")
            continue
        try:
            message(stream, {**event.record, EVENT_TIME: event.at})
        except PoisonError as error:
            yield Mistake(
                STREAMS, field, f"no worker would take the record: {error}; answer what the stream's columns say"
            )
        except Exception as error:  # what is no record at all
            yield Mistake(STREAMS, field, f"{type(error).__name__}: {error}; answer TimedRecord(at, record)")


def _call(context: Context, file: str, field: str, function: Callable[[], Any]) -> Any:
    """What a function of the package answers. `MistakeError` where it fails."""
    try:
        return function()
    except FaultError as error:
        raise MistakeError(Mistake(file, field, str(error)) if file == LOOKUP else None) from error
    except Exception as error:  # the use case's own code
        raise MistakeError(Mistake.of(error, context.use_case.spec.package, file, field)) from error
