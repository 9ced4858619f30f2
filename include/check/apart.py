"""Streams of several use cases: all share one broker and one database, so topics and tables have to differ."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from include.check.finding import Mistake
from include.errors import SettingsError
from include.use_case import load_use_case

FILE = "streams.py"


def check_apart(named: str, others: Sequence[str]) -> Iterator[Mistake]:
    """Tables that a use case shares with another one, or with itself, and topics that another one declares otherwise.

    One that cannot be loaded is passed over: its own check says why.
    """
    package, own = _streams(named)
    tables: dict[str, str] = {}
    for stream in own:
        if (topic := tables.setdefault(stream.table, stream.name)) != stream.name:
            yield Mistake(FILE, f"topic {stream.name}: table", f"{stream.table} is topic {topic}'s too; name another")
    for other in others if own else ():
        whose, theirs = _streams(other)
        if whose != package:
            for stream in own:
                for their in theirs:
                    yield from _between(stream, their, whose)


def _between(stream: Any, their: Any, whose: str) -> Iterator[Mistake]:
    field = f"topic {stream.name}"
    if stream.table == their.table:
        yield Mistake(FILE, f"{field}: table", f"{stream.table} is a table of {whose} too; name another")
    if stream.name == their.name and stream.versions != their.versions:
        yield Mistake(FILE, field, f"{whose} declares other columns for it; name another, or declare the same")


def _streams(named: str) -> tuple[str, Sequence[Any]]:
    """The package that a name means, and its streams, as far as they can be read."""
    try:
        use_case = load_use_case(named)
    except SettingsError:
        return named, ()
    package = use_case.spec.package
    try:
        streams = importlib.import_module(f"{package}.streams").STREAMS
    except Exception:  # there are none, or their own check says what they raise
        return package, ()
    return package, list(streams.values()) if isinstance(streams, Mapping) else ()
