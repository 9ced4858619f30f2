"""Thousands of records and dozens of faults in any order, drawn from a seed: the promises hold at every moment."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from include.ingestion.brokers.broker import Message
from tests.include.ingestion.site import WORKERS, AtWork, Site
from tests.postgres_server import PostgresServer, children
from tests.waiting import PATIENCE

pytestmark = pytest.mark.stack
STEPS = 90


class Misfortune:
    """What may happen to a site; `done` counts what did."""

    def __init__(self, site: Site, server: PostgresServer, messages: dict[str, list[Message]], seed: int) -> None:
        self.site = site
        self.server = server
        self.chance = random.Random(seed)
        self.waiting = {topic: self._with_revisions(of_topic) for topic, of_topic in messages.items()}
        self.at_work: list[tuple[str, AtWork]] = []
        self.done: Counter[str] = Counter()

    def step(self) -> None:
        """One thing happens."""
        faults: dict[Callable[[], None], int] = {
            self.publish: 6,
            self.start: 6,
            self.kill_worker: 3,
            self.freeze_worker: 1,
            self.crash_database: 2,
            self.kill_server_process: 2,
            self.close_sessions: 2,
            self.publish_again: 1,
            self.poison: 2,
            self.pause: 4,
        }
        happens = self.chance.choices(list(faults), list(faults.values()))[0]
        happens()
        self.done[happens.__name__] += 1

    def publish(self) -> None:
        """A collector sends some of what is waiting, a little out of order."""
        topic = self.chance.choice(sorted(self.waiting))
        count = self.chance.randint(30, 250)
        chunk, self.waiting[topic] = self.waiting[topic][:count], self.waiting[topic][count:]
        if self.chance.random() < 0.3:
            self.chance.shuffle(chunk)
        self.site.publish(topic, chunk)

    def publish_again(self) -> None:
        """A collector that was killed before it noted its success sends again."""
        for topic, published in self.site.published.items():
            again = published[-50:]
            self.site.publish(topic, again)

    def poison(self) -> None:
        """Somebody sends what nobody can store."""
        topic = self.chance.choice(["a1", "a2"])
        self.site.publish(topic, [Message(b"poison", self.chance.randbytes(20).replace(b"\n", b""), f"{topic}/1")])

    def start(self) -> None:
        """A worker's shift begins, whether or not another is on."""
        worker = self.chance.choice(sorted(WORKERS))
        batch = self.chance.choice([7, 50, 200])
        self.at_work.append((worker, self.site.start(worker, batch=batch, drain=self.chance.random() < 0.5)))

    def kill_worker(self) -> None:
        """SIGKILL at whatever instruction."""
        if self.at_work:
            _, worker = self.at_work.pop(self.chance.randrange(len(self.at_work)))
            worker.kill()

    def freeze_worker(self) -> None:
        """A long pause, as of a machine that swaps."""
        if self.at_work:
            _, worker = self.chance.choice(self.at_work)
            pid = worker.process.pid
            if worker.process.is_alive() and pid:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(self.chance.uniform(0, 0.3))
                os.kill(pid, signal.SIGCONT)

    def crash_database(self) -> None:
        """The whole server dies and is back after a while."""
        self.server.crash()
        time.sleep(self.chance.uniform(0, 0.4))
        self.server.start()

    def kill_server_process(self) -> None:
        """One of the server's processes dies, which takes all sessions down; it recovers by itself."""
        process = self.server.postgres.processes.running("postgres")
        assert process is not None
        sessions = [pid for pid in children(process.pid) if b"nightshift" in _title(pid)]
        if sessions:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.chance.choice(sessions), signal.SIGKILL)

    def close_sessions(self) -> None:
        """An operator ends the workers' sessions."""
        try:
            with psycopg.connect(self.server.postgres.url("postgres"), connect_timeout=5) as session:
                session.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'nightshift %'"
                )
        except psycopg.OperationalError:
            self.done["close_sessions"] -= 1  # it is recovering

    def pause(self) -> None:
        """Nothing happens for a moment."""
        time.sleep(self.chance.uniform(0, 0.2))

    def _with_revisions(self, messages: list[Message]) -> list[Message]:
        """The messages, and for some of them a later correction of the same record."""
        found = []
        for message in messages:
            found.append(message)
            if self.chance.random() < 0.1:
                second = f":0{self.chance.randint(1, 9)}Z".encode()
                revised = message.value.replace(b':00Z","', second + b'","', 1)
                found.append(Message(message.key, revised, message.schema_id))
        return found


@pytest.mark.parametrize("seed", [20131004, 7])
def test_nothing_is_lost_or_doubled_whatever_happens_in_whatever_order(
    site: Site, server: PostgresServer, messages: dict[str, list[Message]], seed: int, tmp_path: Path
) -> None:
    _watch_order(site.url)
    fate = Misfortune(site, server, messages, seed)
    for topic in fate.waiting:
        site.publish(topic, [])
    # Given collectors, workers and faults in any order
    for step in range(STEPS):
        fate.step()
        # Then at any moment the table is what lies before its offsets
        if step % 9 == 8:
            _when_it_answers(site.ledger_is_true)
    # When all is calm again
    for _, worker in fate.at_work:
        worker.kill()
    for topic, rest in fate.waiting.items():
        site.publish(topic, rest)
    _when_it_answers(site.ledger_is_true)
    for name in WORKERS:
        assert site.run(name, batch=1000).drained
    # Then every acknowledged record is stored once, as its newest event has it, and no key ever went back in time
    site.everything_is_stored()
    site.ledger_is_true()
    assert _went_back(site.url) == []
    print(seed, {topic: len(published) for topic, published in site.published.items()}, dict(fate.done))
    faults = STEPS - sum(fate.done[name] for name in ("publish", "start", "pause"))
    assert faults >= 24, fate.done


def _watch_order(url: str) -> None:
    """Have the database itself note every change of a row's event time."""
    with psycopg.connect(url) as session:
        session.execute("CREATE TABLE seen (key text, was timestamptz, became timestamptz)")
        session.execute(
            "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO seen VALUES (NEW::text, OLD.event_time, NEW.event_time); RETURN NULL; END $$"
        )
        for table in ("weather_observations", "flights"):
            session.execute(f"CREATE TRIGGER see AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION see()")


def _went_back(url: str) -> list[object]:
    with psycopg.connect(url) as session:
        return list(session.execute("SELECT * FROM seen WHERE became < was").fetchall())


def _when_it_answers(look: Callable[[], None]) -> None:
    """Look at the database; a server of which a process was killed answers for a moment more, and then recovers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            look()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the database does not come back"
            time.sleep(0.1)
        else:
            return


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
