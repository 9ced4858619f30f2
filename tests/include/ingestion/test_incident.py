"""The incident this was drawn for, and its relatives: nothing that was acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import urlsplit

import psycopg
import pytest

from include.ingestion.breaker import Breaker
from include.ingestion.brokers.broker import BrokerError, Message
from include.ingestion.ledger import Ledger
from include.ingestion.partitions import DailyPartitions
from include.ingestion.shift import Shift
from include.ingestion.workers import Worker, WorkerSpec
from include.use_cases.flight_delay.streams import FLIGHT_STREAM
from tests.include.ingestion.site import HeldCommits, Site, WatchedPolls, consumer, shift_of_pauses
from tests.postgres_server import PostgresServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.stack
Messages = dict[str, list[Message]]


@pytest.fixture
def busy(site: Site, messages: Messages) -> Site:
    """A site with records of both topics waiting."""
    for topic, waiting in messages.items():
        site.publish(topic, waiting)
    return site


def test_worker_2_finishes_within_its_shift_when_the_database_is_killed_during_worker_1s_write(
    busy: Site, server: PostgresServer
) -> None:
    # Given both workers mid-batch
    with busy.held_writes("weather_observations", "flights"):
        first, second = busy.start("worker_1"), busy.start("worker_2")
        busy.wait_until_writing("worker_1", "worker_2")
        # When the database is killed, and is back a second later
        server.crash()
        time.sleep(1.0)
        server.start()
        # Then both finish within this very shift
        tallies = first.ends(), second.ends()
    assert all(tally.drained and tally.database_errors for tally in tallies)
    busy.everything_is_stored()
    busy.ledger_is_true()


def test_a_killed_server_process_of_worker_1_makes_worker_2_wait_not_lose(busy: Site, server: PostgresServer) -> None:
    # Given both workers mid-batch
    with busy.held_writes("weather_observations", "flights"):
        first, second = busy.start("worker_1"), busy.start("worker_2")
        processes = busy.wait_until_writing("worker_1", "worker_2")
        # When worker 1's write takes its server process down, and so every session with it
        os.kill(processes["worker_1"], signal.SIGKILL)
        # Then the server recovers by itself and both finish
        tallies = first.ends(), second.ends()
    assert all(tally.drained and tally.database_errors for tally in tallies)
    busy.everything_is_stored()


def test_worker_2_hands_over_to_its_next_shift_when_the_database_stays_down(busy: Site, server: PostgresServer) -> None:
    # Given both workers mid-batch
    with busy.held_writes("weather_observations", "flights"):
        first, second = busy.start("worker_1"), busy.start("worker_2")
        busy.wait_until_writing("worker_1", "worker_2")
        # When the database is killed and stays down beyond the shift's end
        server.crash()
        tallies = first.is_over(), second.is_over()
    # Then what they had read is owed
    assert all(tally.owed and not tally.drained for tally in tallies)
    server.start()
    busy.ledger_is_true()
    # And the next shifts take up the rest
    assert busy.run("worker_2").drained
    assert busy.run("worker_1").drained
    busy.everything_is_stored()


def test_a_database_that_is_down_a_whole_shift_costs_that_shift_only(busy: Site, server: PostgresServer) -> None:
    # Given the database down before the shift begins
    server.crash()
    # When a shift of a minute is over
    shift = shift_of_pauses(60)
    worker = Worker(WorkerSpec("worker_2", "a2"), Ledger(busy.url, consumer("worker_2"), FLIGHT_STREAM), busy.broker)
    tally = worker.work(shift, drain=True)
    # Then it ended at its deadline, having written nothing, and asked the database once in 0.75 to 1.5 seconds
    assert shift.over
    assert tally.records == 0
    assert 60 / 1.5 <= tally.database_errors <= 60 / 0.75 + Breaker.threshold
    assert tally.circuit_opened == 1
    # And the next shift writes everything
    server.start()
    assert busy.run("worker_2").drained
    busy.everything_is_stored("a2")


def test_a_worker_killed_between_the_ledgers_commit_and_the_brokers_doubles_nothing(busy: Site) -> None:
    # Given a worker whose ledger has committed a batch, and whose broker has not been told
    held = HeldCommits(busy.broker)
    worker = busy.start("worker_2", broker=held)
    assert held.reached.wait(PATIENCE)
    done = busy.offsets("a2")
    assert sum(done.values()) == 100
    # When it is killed there
    worker.kill()
    busy.ledger_is_true("a2")
    # Then its next shift goes on behind that batch
    tally = busy.run("worker_2")
    assert tally.messages == len(busy.published["a2"]) - 100
    busy.everything_is_stored("a2")


def test_a_database_killed_between_its_commit_and_the_brokers_doubles_nothing(
    busy: Site, server: PostgresServer
) -> None:
    # Given a worker whose ledger has committed a batch, and whose broker has not been told
    held = HeldCommits(busy.broker)
    worker = busy.start("worker_2", broker=held)
    assert held.reached.wait(PATIENCE)
    # When the database is killed there, and the worker goes on
    server.restart()
    held.released.set()
    # Then it stores the rest and nothing twice
    tally = worker.ends()
    assert tally.messages == len(busy.published["a2"])
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_killed_at_random_instructions_loses_and_doubles_nothing(busy: Site, seed: int) -> None:
    chance = random.Random(seed)
    # Given a worker that is killed again and again, wherever it is
    for _ in range(6):
        worker = busy.start("worker_2", batch=50)
        time.sleep(chance.uniform(0.01, 0.25))
        worker.kill()
        # Then at every such moment the table is what lies before its offsets
        busy.ledger_is_true("a2")
    # And whoever comes last finishes the work
    assert busy.run("worker_2", batch=50).drained
    busy.everything_is_stored("a2")


def test_two_workers_started_for_one_shift_do_the_work_once(busy: Site) -> None:
    # Given two workers of one name
    both = [busy.start("worker_2", batch=40), busy.start("worker_2", batch=40)]
    # When both work
    tallies = [worker.ends() for worker in both]
    # Then every message was written by exactly one of them
    assert sum(tally.messages for tally in tallies) == len(busy.published["a2"])
    assert all(tally.drained for tally in tallies)
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def test_a_worker_that_was_stopped_and_wakes_up_late_is_fenced_off(busy: Site) -> None:
    # Given a worker mid-batch that is frozen, as by a long pause of its machine
    held = HeldCommits(busy.broker)
    frozen = busy.start("worker_2", broker=held, batch=40)
    assert held.reached.wait(PATIENCE)
    assert frozen.process.pid is not None
    os.kill(frozen.process.pid, signal.SIGSTOP)
    # When another one does all the work meanwhile, and it wakes up
    busy.run("worker_2")
    os.kill(frozen.process.pid, signal.SIGCONT)
    held.released.set()
    # Then what it goes on with is refused, and it finds nothing left to do
    tally = frozen.ends()
    assert tally.fenced == 1
    assert tally.messages == 40
    busy.everything_is_stored("a2")


def test_poison_amid_good_records_is_set_apart_with_its_reason(site: Site, messages: Messages) -> None:
    # Given poison of every kind amid good records
    good = messages["a2"][:500]
    beyond = good[7].value.replace(b'"dest":"', b'"dest":"\\u0000')
    impossible = good[9].value.replace(b'"schema":"a2/1"', b'"schema":"a2/9"')
    late = good[11].value.replace(b'"event_time":"2013', b'"event_time":"2093')
    poison = [b"", b"no JSON", b"\xff\xfe", b"[]", b'{"schema":"a2/1"}', beyond, impossible, late]
    stream = [*good[:100], *(Message(b"key", value, "a2/1") for value in poison), *good[100:]]
    site.publish("a2", stream)
    # When the worker works
    tally = site.run("worker_2")
    # Then the good ones are stored, and each bad one lies among the dead letters
    assert tally.records == len(good)
    assert tally.dead_letters == len(poison)
    site.everything_is_stored("a2")
    with psycopg.connect(site.url) as session:
        rows = session.execute("SELECT value, reason, consumer FROM dead_letters").fetchall()
    reasons = {bytes(value): reason for value, reason, _ in rows}
    assert reasons[b"no JSON"] == "not JSON"
    assert reasons[impossible] == "schema a2/9 is not known; known: a2/1"
    assert reasons[late].startswith("event_time is 29")
    assert {name for *_, name in rows} == {consumer("worker_2")}


def test_a_record_that_only_the_database_refuses_is_found_and_set_apart(site: Site, messages: Messages) -> None:
    # Given a rule of the database's own that three records amid many break
    good = messages["a2"]
    barred = {message.key.decode() for message in good[40:43]}
    with psycopg.connect(site.url) as session:
        session.execute(
            "CREATE FUNCTION bar() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.flight_id = ANY('{{{','.join(barred)}}}') THEN"
            " RAISE EXCEPTION 'barred' USING ERRCODE = '22000'; END IF; RETURN NEW; END $$"
        )
        session.execute("CREATE TRIGGER bar BEFORE INSERT ON flights FOR EACH ROW EXECUTE FUNCTION bar()")
    site.publish("a2", good)
    # When the worker works
    tally = site.run("worker_2")
    # Then those are dead letters, and all others are stored
    assert tally.drained
    assert tally.dead_letters == sum(message.key.decode() in barred for message in good)
    assert {key[0] for key in site.rows("a2")} == {message.key.decode() for message in good} - barred


def test_a_full_disk_makes_one_worker_wait_and_leaves_the_other_alone(busy: Site, server: PostgresServer) -> None:
    # Given a disk with no space left for the day's flights
    with psycopg.connect(busy.url, autocommit=True) as session:
        DailyPartitions("flights").ensure(session, [date(2013, 3, 1)])
    with server.full_disk(busy.url, "flights_20130301"):
        # When both workers work
        second = busy.start("worker_2")
        # Then worker 1 has no trouble, and worker 2 does not give up
        assert busy.run("worker_1").database_errors == 0
        busy.everything_is_stored("a1")
        time.sleep(1.0)
        assert second.process.is_alive()
        busy.ledger_is_true("a2")
    # And once there is space it finishes within its shift
    tally = second.ends()
    assert tally.drained
    assert tally.database_errors
    assert tally.dead_letters == 0
    busy.everything_is_stored("a2")


def test_a_wall_clock_that_jumps_does_not_change_a_shifts_length(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a shift of an hour
    shift = Shift.until(datetime.now(UTC) + timedelta(hours=1))
    # When the wall clock is put a day ahead
    monkeypatch.setattr(
        "include.ingestion.shift.datetime", Mock(now=lambda zone: datetime.now(zone) + timedelta(days=1))
    )
    # Then the shift is as long as it was
    assert 3600 - PATIENCE < shift.remaining <= 3600


def test_a_sensor_whose_clock_has_jumped_ahead_does_not_win_over_later_records(site: Site, messages: Messages) -> None:
    # Given a record that claims to be a year newer than it can be, then the true ones
    true = messages["a1"]
    jumped = true[0].value.replace(b'"event_time":"2013', b'"event_time":"2014')
    site.publish("a1", [Message(true[0].key, jumped, "a1/1"), *true])
    # When the worker works
    tally = site.run("worker_1")
    # Then it is set apart, and the truth is in the table
    assert tally.dead_letters == 1
    site.everything_is_stored("a1")


@pytest.mark.parametrize(
    ("instead", "drain"), [("nothing", True), ("an empty folder", True), ("a file", True), ("nothing", False)]
)
def test_a_landing_folder_that_is_away_for_a_while_costs_nothing(
    busy: Site, tmp_path: Path, instead: str, drain: bool
) -> None:
    # Given a worker in the middle of its work
    held = HeldCommits(busy.broker)
    watched = WatchedPolls(held)
    worker = busy.start("worker_2", batch=20, broker=watched, drain=drain)
    assert held.reached.wait(PATIENCE)
    # When the landing folder is away, as a mount may be, until the worker has met that
    folder = tmp_path / "landing"
    aside = folder.rename(tmp_path / "aside")
    if instead == "an empty folder":
        folder.mkdir()
    elif instead == "a file":
        folder.write_text("no folder")
        with pytest.raises(BrokerError):
            busy.publish("a2", busy.published["a2"][:5])
    held.released.set()
    assert watched.failed.wait(PATIENCE)
    # And is back
    if instead != "nothing":
        folder.rmdir() if folder.is_dir() else folder.unlink()
    aside.rename(folder)
    # Then the very same shift goes on, and nothing is missing
    busy.wait_until_stored("a2")
    tally = worker.ends() if drain else worker.is_over()
    assert tally.broker_errors
    assert tally.messages == len(busy.published["a2"])
    assert tally.drained is drain
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def test_a_worker_goes_on_when_another_has_taken_every_connection(busy: Site, server: PostgresServer) -> None:
    # Given a database role that may have four connections, worker 2 mid-shift, and somebody who takes all others
    _as_limited_role(busy, server, connections=4)
    with busy.held_writes("flights"):
        second = busy.start("worker_2")
        busy.wait_until_writing("worker_2")
        greedy = _all_connections(busy.url)
    # Then worker 2, which has its own, is not disturbed
    assert second.ends().database_errors == 0
    # And worker 1, which comes while there is none, waits until one is free
    greedy += _all_connections(busy.url)
    first = busy.start("worker_1")
    time.sleep(0.5)
    assert first.process.is_alive()
    for connection in greedy:
        connection.close()
    tally = first.ends()
    assert tally.drained
    assert tally.database_errors
    busy.everything_is_stored()


def _as_limited_role(site: Site, server: PostgresServer, connections: int) -> None:
    """Let the site use a role that owns its tables and may not have more connections."""
    tables = ("weather_observations", "flights", "consumer_offsets", "dead_letters")
    role = f"workers_{os.getpid()}_{time.monotonic_ns()}"
    address = urlsplit(site.url)
    superuser = psycopg.connect(server.postgres.url("postgres"), dbname=address.path.lstrip("/"), autocommit=True)
    with superuser as session:
        session.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'workers' CONNECTION LIMIT {connections}")
        session.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        for table in tables:
            session.execute(f"ALTER TABLE {table} OWNER TO {role}")
    site.url = address._replace(netloc=f"{role}:workers@{address.hostname}:{address.port}").geturl()


def _all_connections(url: str) -> list[psycopg.Connection[tuple[object, ...]]]:
    found = []
    while True:
        try:
            found.append(psycopg.connect(url, connect_timeout=5))
        except psycopg.OperationalError:
            return found
