"""The rules that a use case's spec keeps, by the names of its fields. DAG files read it: standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from formats.task import Task
from include.errors import SettingsError

if TYPE_CHECKING:
    from include.use_case import Horizon, Topic, UseCaseSpec

NAME = r"[a-z][a-z0-9_]*"
COLUMN = r"[A-Za-z_][A-Za-z0-9_]*"
PACKAGE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
CRON: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, WEEKDAYS),
)
"""A cron expression's fields: what each is, its least and greatest number, and the names it may be written by."""

TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "str | None": (str, type(None)),
    "time": time,
    "date": date,
    "int": int,
    "bool": bool,
    "tuple[Topic, ...]": tuple,
    "tuple[Horizon, ...]": tuple,
    "tuple[str, ...]": tuple,
    "Mapping[str, str]": Mapping,
    "Calendar | None": object,
    "Task": Task,
}


def require_types(part: Any, where: str = "") -> None:
    """Raise a `SettingsError` that names the first field of a dataclass whose value is not of its annotated type."""
    for field in fields(part):
        value = getattr(part, field.name)
        kind = str(field.type)
        wrong = not isinstance(value, TYPES[kind]) or (kind != "bool" and isinstance(value, (bool, datetime)))
        if isinstance(value, str) and kind.startswith("tuple"):
            raise SettingsError(f"{where}{field.name}={value!r}: is a text; write a tuple, such as ({value!r},)")
        if wrong and kind == "Task":
            known = ", ".join(f"Task.{one.name}" for one in Task)
            raise SettingsError(f"{where}{field.name}={value!r}: is no task; write one of {known}")
        if wrong:
            raise SettingsError(f"{where}{field.name}={value!r}: is a {type(value).__name__}; write a {kind}")
        if kind == "tuple[str, ...]" and not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{where}{field.name}={value!r}: holds more than texts; write a {kind}")
        if kind == "Mapping[str, str]" and not all(isinstance(item, str) for pair in value.items() for item in pair):
            raise SettingsError(f"{where}{field.name}={value!r}: holds more than texts; write column: instant column")


def require_names(part: Topic | Horizon, kind: str) -> None:
    """Raise a `SettingsError` for a topic or a horizon whose name or offset cannot be."""
    where = f"{kind} {part.name!r}: "
    if not re.fullmatch(NAME, part.name):
        raise SettingsError(f"{where}name: is no name for a folder of the lake; write small letters, digits and _")
    if not 0 <= part.day_offset <= 366:
        raise SettingsError(f"{where}day_offset={part.day_offset}: write how many days ahead, 0 to 366")


def require_sound(spec: UseCaseSpec) -> None:
    """Raise a `SettingsError` that names the first field of a spec that breaks a rule, and the remedy."""
    for field, problem in _problems(spec):
        raise SettingsError(f"{field}={getattr(spec, field)!r}: {problem}")


def _problems(spec: UseCaseSpec) -> Iterator[tuple[str, str]]:
    yield from _names(spec)
    yield from _clock(spec)
    yield from _parts(spec)
    yield from _classes(spec)
    yield from _days(spec)


def _names(spec: UseCaseSpec) -> Iterator[tuple[str, str]]:
    for field, pattern, remedy in (
        ("name", NAME, "is no name for a folder, a DAG and a model; write small letters, digits and _"),
        ("package", PACKAGE, "is no dotted package; write the folder's own name, such as include.use_cases.yours"),
        ("key", COLUMN, "is no column name; name the column that identifies an example"),
    ):
        if not re.fullmatch(pattern, getattr(spec, field)):
            yield field, remedy
    for field in ("title", "owner"):
        if not getattr(spec, field).strip():
            yield field, "is empty; write a few words"


def _clock(spec: UseCaseSpec) -> Iterator[tuple[str, str]]:
    try:
        ZoneInfo(spec.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield "timezone", "is no time zone; write an IANA name, such as Europe/Rome"
    if spec.day_starts.tzinfo is not None:
        yield "day_starts", "has a zone of its own; leave it out, timezone says it"
    if problem := _cron_problem(spec.cron):
        yield "cron", f"{problem}; write MINUTE HOUR * * *, such as '30 0 * * *'"
    elif _due(spec.cron) < spec.day_starts.replace(tzinfo=None):
        yield "cron", f"is due before its data day is over (day_starts={spec.day_starts:%H:%M}); make it later"


def _cron_problem(cron: str) -> str:
    """What is wrong with a cron expression; nothing where it is sound and runs at most once a day."""
    given = cron.split()
    if len(given) != len(CRON):
        return f"has {len(given)} fields, not five"
    for text, (what, least, most, names) in zip(given, CRON, strict=True):
        if not all(_cron_part(part, least, most, names) for part in text.lower().split(",")):
            return f"{text!r} is no {what}"
    if not (given[0].isdigit() and given[1].isdigit()):
        return "runs more than once a day, and a run is about one day"
    return ""


def _due(cron: str) -> time:
    minute, hour = cron.split()[:2]
    return time(int(hour), int(minute))


def _cron_part(part: str, least: int, most: int, names: Sequence[str]) -> bool:
    span, _, step = part.partition("/")
    if "/" in part and not (step.isdigit() and int(step) > 0):
        return False
    if span == "*":
        return True
    ends = [names.index(end) + least if end in names else int(end) if end.isdigit() else -1 for end in span.split("-")]
    return len(ends) <= 2 and all(least <= end <= most for end in ends) and ends[0] <= ends[-1]


def _parts(spec: UseCaseSpec) -> Iterator[tuple[str, str]]:
    for field in ("topics", "horizons", "candidates"):
        if not getattr(spec, field):
            yield field, f"is empty; name at least one of the {field}"
    for field, names in (
        ("topics", [topic.name for topic in spec.topics]),
        ("horizons", [horizon.name for horizon in spec.horizons]),
        ("candidates", spec.candidates),
        ("carried", spec.carried),
    ):
        if twice := next((name for name in names if list(names).count(name) > 1), None):
            yield field, f"{twice} is there twice; leave one out"
    if odd := next((name for name in spec.candidates if not re.fullmatch(NAME, name)), None):
        yield "candidates", f"{odd!r} is no name for a task; write small letters, digits and _"
    topics = {topic.name: topic for topic in spec.topics}
    for field in ("examples", "outcomes"):
        if getattr(spec, field) not in topics:
            yield field, f"is none of the topics; name one of {', '.join(topics)}"
    examples, outcomes = topics.get(spec.examples), topics.get(spec.outcomes)
    if spec.examples == spec.outcomes and outcomes:
        yield "outcomes", "is the topic of the examples too; name the outcome's columns in its topic's outcomes"
    if outcomes and outcomes.day_offset:
        yield "outcomes", "is published ahead (day_offset), before anything came of it; give its topic no day_offset"
    ahead = next((horizon for horizon in spec.horizons if examples and horizon.day_offset > examples.day_offset), None)
    if ahead:
        yield (
            "horizons",
            f"{ahead.name} scores {ahead.day_offset} days ahead, of which {spec.examples} is not published yet; "
            f"give topic {spec.examples} a day_offset of {ahead.day_offset} too",
        )


def _classes(spec: UseCaseSpec) -> Iterator[tuple[str, str]]:
    if spec.classes and spec.task is not Task.MULTICLASS:
        yield "classes", f"are of no use to a {spec.task} task; leave them out, or write task=Task.MULTICLASS"
    elif len(spec.classes) == 1 or len(set(spec.classes)) < len(spec.classes):
        yield "classes", "are no two or more classes, each once; name each class that a label may be"


def _days(spec: UseCaseSpec) -> Iterator[tuple[str, str]]:
    if spec.first_day > spec.last_day:
        yield "last_day", f"is before first_day {spec.first_day}; write the newest day that has data"
    for field, least in (("history_days", 0), ("holdout_days", 1), ("lookback_days", 0)):
        if not least <= getattr(spec, field) <= 36_500:
            yield field, f"write a number of days, {least} to 36500"
