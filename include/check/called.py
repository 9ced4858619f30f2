"""What the platform calls of a package besides its labels and features: the source, streams and lookup.

Each is called once, as a step would, and its answer is held to what the step reads of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from include.check.finding import Mistake, MistakeError
from include.check.sample import CheckSample
from include.errors import FaultError
from include.ingestion.collector import TimedRecord, message
from include.ingestion.streams import EVENT_TIME, PoisonError, Stream
from include.step import Context

LOOKUP, SOURCES, STREAMS = "lookup.py", "sources.py", "streams.py"
EVENTS = 200
"""This many events of a day are checked against their stream's schema."""


def check_called(context: Context, sample: CheckSample) -> Iterator[Mistake]:
    """Findings on `lookup.LOOKUP.beside`, `sources.source`, `sources.sample` and `streams.events`."""
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


# What a lookup puts beside its predictions


def _lookup(context: Context, _: CheckSample) -> Iterator[Mistake]:
    """`beside` is called with tables of no row, so that what it names, reads and answers is seen."""
    use_case = context.use_case
    if not use_case.has_part("lookup") or not (beside := use_case.part("lookup").LOOKUP.beside):
        return
    spec, field = use_case.spec, "LOOKUP.beside"
    examples = use_case.contracts[spec.examples].schema.empty_table()
    features = use_case.part("feature_contract").FEATURES.schema.empty_table()
    predictions = examples.select(list(dict.fromkeys([spec.key, *spec.carried]))).append_column(
        "as_of", pa.chunked_array([], pa.timestamp("us", "UTC"))
    )
    answer = _call(context, LOOKUP, field, lambda: beside(predictions, features))
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], pa.Table)):
        yield Mistake(LOOKUP, field, f"answers a {type(answer).__name__}; answer the predictions, and tables by name")
        return
    for name, table in dict(answer[1]).items():
        if not isinstance(table, pa.Table):
            yield Mistake(LOOKUP, f"{field}: {name}", f"is a {type(table).__name__}; answer a pyarrow Table")


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
