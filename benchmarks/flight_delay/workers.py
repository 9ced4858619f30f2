"""A worker's throughput beside the fastest honest writer, its memory for a long backlog, and how soon it is back.

    python -m benchmarks.flight_delay.workers [backlog]

A PostgreSQL of its own (fsync on), and the sample year's flight records in a landing folder. The writer to compare
with has its records in memory, decoded: it formats them, writes one COPY into an unlogged staging table and then one
upsert; measured a second time, it has to decode its messages first, as a worker has. The worker reads, checks,
dead-letters and accounts for each batch. They take turns, the best of `ROUNDS` counts; once with the records as they
come, up to three of a flight, of which the worker sends the newest of a batch only; once with one record of each
flight, so that nothing can be left out. Memory is a worker process's
peak for a tenth of the backlog and for all of it. The return is measured from the moment a killed database answers
again to the worker's first commit.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from include.database.migrate import upgrade
from include.errors import StepError
from include.ingestion.brokers.broker import Message, Received
from include.ingestion.brokers.landing import LandingBroker
from include.ingestion.collector import message
from include.ingestion.ledger import Ledger
from include.ingestion.partitions import DailyPartitions
from include.ingestion.shift import Shift
from include.ingestion.streams import EVENT_TIME, Record
from include.ingestion.workers import Worker, WorkerSpec
from include.settings import Settings
from include.storage.lake import days_between
from include.use_cases.flight_delay.sources import sample
from include.use_cases.flight_delay.spec import SPEC
from include.use_cases.flight_delay.streams import FLIGHT_STREAM, events
from local.postgres import Postgres
from local.processes import Processes
from stores.folder import FileStore

BACKLOG = 1_000_000
COMPARED = 100_000
ROUNDS = 2
RETURNS = 3
DOWN_SECONDS = 3.0
"""Long enough for the worker's circuit to be open."""
FORK = multiprocessing.get_context("fork")


def main(backlog: int = BACKLOG) -> None:
    """Measure, print as it goes, and end with the figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="workers-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        database = Database(Path(folder))
        database.start()
        try:
            small = LandingBroker(FileStore(Path(folder) / "small"))
            large = LandingBroker(FileStore(Path(folder) / "large"))
            tenth = min(COMPARED, backlog)
            say(f"{fill(small, tenth):,} and {fill(large, backlog):,} records published")
            single = LandingBroker(FileStore(Path(folder) / "single"))
            fill(single, tenth, once=True)
            figures = compare(database, small)
            figures["one_record_a_flight"] = compare(database, single)
            figures |= memory(database, small, large, backlog)
            figures |= returns(database, large)
        finally:
            database.stop()
    print(json.dumps({"benchmark": "workers", **figures}))


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


# Records


def fill(broker: LandingBroker, count: int, *, once: bool = False) -> int:
    """Publish this many of the year's flight records, day by day; the year again if it has too few.

    With `once` only the first of each flight.
    """
    source = sample(Settings())
    days = itertools.cycle(days_between(SPEC.first_day, SPEC.last_day))
    made = (
        event
        for day in days
        for event in events(source, FLIGHT_STREAM.name, day)
        if not once or event.record["departed_at"] is None
    )
    messages: Iterator[Message] = (message(FLIGHT_STREAM, {**event.record, EVENT_TIME: event.at}) for event in made)
    producer = broker.producer(FLIGHT_STREAM.name)
    return sum(producer.send(list(itertools.islice(messages, min(20_000, count - n)))) for n in range(0, count, 20_000))


def read_all(broker: LandingBroker) -> list[Received]:
    """A topic's messages."""
    consumer = broker.consumer(FLIGHT_STREAM.name, "benchmark")
    consumer.seek({})
    found: list[Received] = []
    while more := consumer.poll(50_000, 0.0):
        found += more
    return found


# Throughput


def compare(database: Database, broker: LandingBroker) -> dict[str, Any]:
    """Records a second of the worker and of the plain writer, in turns."""
    messages = read_all(broker)
    records = [FLIGHT_STREAM.decode(message.value) for message in messages]
    writer, decoder, worker = [], [], []
    for turn in range(ROUNDS):
        began = time.perf_counter()
        decoded = [json.loads(message.value) for message in messages]
        seconds = time.perf_counter() - began
        decoder.append(len(records) / (seconds + plain_write(database.new(with_days=True), decoded)))
        writer.append(len(records) / plain_write(database.new(with_days=True), records))
        worker.append(len(records) / work(database.new(with_days=True), broker)["seconds"])
        say(
            f"round {turn + 1}: plain writer {writer[-1]:,.0f} records/s, with json.loads {decoder[-1]:,.0f},"
            f" worker {worker[-1]:,.0f}"
        )
    best_writer, best_decoder, best_worker = max(writer), max(decoder), max(worker)
    return {
        "records": len(records),
        "writer_records_per_second": round(best_writer),
        "worker_records_per_second": round(best_worker),
        "ratio": round(best_worker / best_writer, 3),
        "writer_with_json_records_per_second": round(best_decoder),
        "ratio_with_json": round(best_worker / best_decoder, 3),
    }


def plain_write(url: str, records: Sequence[Record]) -> float:
    """Seconds for COPY into an unlogged staging table and one upsert, in one transaction."""
    names = [*(column.name for column in FLIGHT_STREAM.columns), EVENT_TIME]
    others = [name for name in names if name not in FLIGHT_STREAM.natural_key]
    values_of = itemgetter(*names)
    listed = sql.SQL(", ").join(map(sql.Identifier, names))
    upsert = sql.SQL(
        "INSERT INTO flights ({names}) SELECT DISTINCT ON (flight_id, date) {names} FROM staging"
        " ORDER BY flight_id, date, event_time DESC ON CONFLICT (flight_id, date) DO UPDATE SET {sets}"
        " WHERE EXCLUDED.event_time >= flights.event_time"
    ).format(
        names=listed,
        sets=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in others),
    )
    with psycopg.connect(url) as session:
        session.execute("CREATE UNLOGGED TABLE staging (LIKE flights)")
        session.commit()
        began = time.perf_counter()
        with session.cursor().copy(sql.SQL("COPY staging ({}) FROM STDIN").format(listed)) as copy:
            for start in range(0, len(records), 5_000):
                rows = (values_of(record) for record in records[start : start + 5_000])
                lines = (
                    "\t".join(["\\N" if v is None else v if type(v) is str else str(v) for v in row]) for row in rows
                )
                copy.write("\n".join(lines) + "\n")
        session.execute(upsert)
        session.commit()
        return time.perf_counter() - began


def work(url: str, broker: LandingBroker) -> dict[str, float]:
    """A worker's whole shift in a process that inherits nothing from this one: records, seconds, peak MiB."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(url, broker, theirs))
    process.start()
    theirs.close()
    found: dict[str, float] = ours.recv()
    process.join()
    return found


def _work(url: str, broker: LandingBroker, answer: Any) -> None:
    worker = Worker(WorkerSpec("worker_2", FLIGHT_STREAM.name), Ledger(url, "benchmark", FLIGHT_STREAM), broker)
    began = time.perf_counter()
    tally = worker.work(Shift.until(datetime.now(UTC) + timedelta(hours=1)), drain=True)
    seconds = time.perf_counter() - began
    answer.send({"records": tally.records, "seconds": seconds, "mib": resident_mib()})


def resident_mib() -> float:
    """This process's peak resident memory. (getrusage's would count its parent's, from before it was itself.)"""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


# Memory


def memory(database: Database, small: LandingBroker, large: LandingBroker, backlog: int) -> dict[str, Any]:
    """Peak memory of a fresh process for the short and for the long backlog."""
    found = {}
    for name, broker in (("short", small), ("long", large)):
        found[name] = work(database.new(), broker)
        rate = found[name]["records"] / found[name]["seconds"]
        say(f"{name} backlog: {found[name]['records']:,} records, {found[name]['mib']:.0f} MiB, {rate:,.0f} records/s")
    return {
        "backlog": backlog,
        "backlog_records_per_second": round(found["long"]["records"] / found["long"]["seconds"]),
        "short_backlog_mib": round(found["short"]["mib"], 1),
        "long_backlog_mib": round(found["long"]["mib"], 1),
    }


# Return


def returns(database: Database, broker: LandingBroker) -> dict[str, Any]:
    """Seconds from the killed database's first answer to the worker's next commit, the worst of some."""
    url = database.new(with_days=True)
    worker = FORK.Process(target=_work_slowly, args=(url, broker))
    worker.start()
    seconds = []
    try:
        for _ in range(RETURNS):
            before = _wait_for_commit(url, -1)
            database.kill()
            time.sleep(DOWN_SECONDS)
            threading.Thread(target=database.start, daemon=True).start()
            answered = _wait_for_answer(url)
            _wait_for_commit(url, before)
            seconds.append(time.perf_counter() - answered)
            say(f"first commit {seconds[-1]:.2f} s after the database answered again")
            time.sleep(1.0)
    finally:
        worker.kill()
        worker.join()
    return {"return_seconds": round(max(seconds), 2), "returns": [round(each, 2) for each in seconds]}


def _work_slowly(url: str, broker: LandingBroker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    Worker(WorkerSpec("worker_2", FLIGHT_STREAM.name, batch=500), Ledger(url, "benchmark", FLIGHT_STREAM), broker).work(
        Shift.until(datetime.now(UTC) + timedelta(minutes=10))
    )


def _wait_for_answer(url: str) -> float:
    while True:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2).close()
            return time.perf_counter()
        time.sleep(0.01)


def _wait_for_commit(url: str, beyond: int) -> int:
    """Wait until the ledger has moved beyond a sum of offsets; the new sum."""
    with psycopg.connect(url, autocommit=True) as session:
        while True:
            row = session.execute("SELECT coalesce(sum(next_offset), -1) FROM consumer_offsets").fetchone()
            if row is not None and int(row[0]) > max(beyond, 0):
                return int(row[0])
            time.sleep(0.01)


# The database


class Database:
    """A PostgreSQL server for this benchmark, with a migrated template."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        processes = Processes(folder / "processes")
        self.postgres = Postgres(folder / "data", port, folder / "password", folder / "postgres.log", processes)
        self._numbers = itertools.count()
        self._migrated = False

    def start(self) -> None:
        """Start it; after a kill, as soon as the memory of the old one is free."""
        while True:
            try:
                self.postgres.start()
                break
            except StepError:  # it is not up yet, or the killed one is not quite gone
                time.sleep(0.1)
        if not self._migrated:
            upgrade(self.postgres.url("nightshift"))
            self._migrated = True

    def new(self, *, with_days: bool = False) -> str:
        """A new database with all tables, if asked for with every day's partition."""
        name = f"benchmark_{next(self._numbers)}"
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as session:
            session.execute(f"CREATE DATABASE {name} TEMPLATE nightshift OWNER tables")
        url = self.postgres.url(name)
        if with_days:
            with psycopg.connect(url, autocommit=True) as session:
                DailyPartitions(FLIGHT_STREAM.table).ensure(session, days_between(date(2013, 1, 1), date(2013, 12, 31)))
        return url

    def kill(self) -> None:
        """SIGKILL to the server; its children end by themselves."""
        process = self.postgres.processes.running("postgres")
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            while process.alive:
                time.sleep(0.01)

    def stop(self) -> None:
        """Shut it down."""
        self.postgres.processes.stop("postgres")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
