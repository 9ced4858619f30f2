"""The timetable of a use case: its workers' topics and tables, and the horizon that is scored within the day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from include.check.finding import Mistake
from include.check.parts import Parts
from include.errors import SettingsError
from include.ingestion.day_plan import nightly_start
from include.ingestion.timetable import FILE, load_timetable
from include.use_case import UseCase

TAKEN = ("nightly_training", "rollback")
"""The DAGs that every use case has."""


def check_workers(use_case: UseCase, parts: Parts) -> Iterator[Mistake]:
    """A timetable that cannot be read, or names something unknown."""
    spec = use_case.spec
    try:
        timetable = load_timetable(spec.package)
        if timetable is None:
            return
        nightly_start(spec, spec.first_day)
    except SettingsError as error:
        yield Mistake(FILE, "timetable", str(error))
        return
    horizons = [horizon.name for horizon in spec.horizons]
    if timetable.scoring and timetable.scoring.horizon not in horizons:
        named = timetable.scoring.horizon
        yield Mistake(FILE, "scoring.horizon", f"{named} is no horizon of spec.py; name one of {', '.join(horizons)}")
    for worker in timetable.workers:
        if worker.name in TAKEN:
            yield Mistake(FILE, f"workers.{worker.name}", "is the name of another DAG; choose another")
    if timetable.scoring and timetable.scoring.name in TAKEN:
        yield Mistake(FILE, "scoring.name", f"{timetable.scoring.name} is the name of another DAG; choose another")
    if not timetable.workers:
        return
    topics = parts.value("streams", "STREAMS", Mapping)
    if topics is None:
        if "streams" not in parts.there:
            yield Mistake("streams.py", "STREAMS", f"there is no such file, and {FILE} has workers; say what they read")
        return
    known = ", ".join(f"{topic.name} into {topic.table}" for topic in topics.values())
    for worker in timetable.workers:
        if worker.topic not in topics or topics[worker.topic].table != worker.writes:
            given = f"{worker.topic} into {worker.writes}"
            yield Mistake(FILE, f"workers.{worker.name}", f"takes {given}; streams.py knows {known}")
