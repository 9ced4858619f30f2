"""work: one worker's shift, from a topic into its table; the two workers are two configurations of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from pydantic import AwareDatetime

from formats.names import none_of
from include.database.address import libpq_url
from include.errors import FaultError, SettingsError, SkippedError
from include.ingestion.brokers.address import open_broker
from include.ingestion.ledger import Ledger
from include.ingestion.shift import Shift
from include.ingestion.streams import Stream
from include.ingestion.timetable import load_timetable
from include.ingestion.workers import Worker, WorkerSpec
from include.step import Context, Result, StepArguments, main


class WorkArguments(StepArguments):
    """Command-line arguments of work: which worker, when its shift ends, and whether to end when nothing is left."""

    worker: str
    deadline: AwareDatetime
    drain: bool = False


def work(context: Context, arguments: WorkArguments) -> Result:
    """Store a topic's messages until the deadline; the next shift takes what is left.

    Raises `SkippedError` when the shift is already over, `FaultError` when it ends with a part out of reach.
    """
    spec = _spec(context, arguments)
    if arguments.deadline <= datetime.now(UTC):
        raise SkippedError(
            f"{spec.name}: the shift ended {arguments.deadline.isoformat()}; the next one takes up the rest"
        )
    topic = context.use_case.part("streams").STREAMS[spec.topic]
    owner = context.use_case.name
    ledger = Ledger(libpq_url(context.settings.require("database_url")), f"{owner}-{spec.name}", topic, owner)
    worker = Worker(spec, ledger, open_broker(context.settings))
    tally = worker.work(Shift.until(arguments.deadline), drain=arguments.drain)
    if context.settings.table_days is not None:
        worker.expire(context.settings.table_days)
    if context.settings.landing_days is not None:
        worker.expire_topic(context.settings.landing_days)
    if trouble := worker.trouble:
        raise FaultError(f"{spec.name}: {trouble}; nothing is lost, the next shift takes up the rest")
    facts = {name: value for name, value in asdict(tally).items() if value}
    return Result(rows={topic.table: tally.records}, facts={"worker": spec.name, "topic": topic.name, **facts})


def _spec(context: Context, arguments: WorkArguments) -> WorkerSpec:
    package = context.use_case.spec.package
    timetable = load_timetable(package)
    workers = {worker.name: worker for worker in timetable.workers} if timetable else {}
    if arguments.worker not in workers:
        raise SettingsError(f"--worker {arguments.worker} {none_of(arguments.worker, workers)}")
    planned = workers[arguments.worker]
    topics: dict[str, Stream] = context.use_case.part("streams").STREAMS
    if planned.topic not in topics or topics[planned.topic].table != planned.writes:
        known = ", ".join(f"{topic.name} into {topic.table}" for topic in topics.values())
        raise SettingsError(
            f"{package}: timetable.yaml has {planned.name} take {planned.topic} into {planned.writes}; "
            f"streams.py knows {known}"
        )
    return WorkerSpec(planned.name, planned.topic)


if __name__ == "__main__":
    main(WorkArguments, work)
