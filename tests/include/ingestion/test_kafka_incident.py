"""The same promises with Kafka as the broker."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator

import pytest

from include.ingestion.brokers.broker import Broker, Message, open_broker
from include.settings import Settings
from tests.include.ingestion.site import HeldCommits, Site
from tests.kafka_server import KafkaServer
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.stack


@pytest.fixture
def busy(
    kafka: KafkaServer, database: str, messages: dict[str, list[Message]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A site whose broker is Kafka, with records of both topics waiting; topics of the test's own."""
    suffix = uuid.uuid4().hex[:6]
    site = Site(database, Renamed(open_broker(Settings(broker=kafka.address)), suffix))
    for topic, waiting in messages.items():
        site.publish(topic, waiting)
    yield site
    site.close()


class Renamed:
    """A broker whose topics carry a suffix, so that tests do not meet in one."""

    def __init__(self, broker: Broker, suffix: str) -> None:
        self.broker = broker
        self.suffix = suffix

    def producer(self, topic: str) -> object:
        return self.broker.producer(f"{topic}-{self.suffix}")

    def consumer(self, topic: str, group: str) -> object:
        return self.broker.consumer(f"{topic}-{self.suffix}", f"{group}-{self.suffix}")


def test_worker_2_finishes_when_the_database_is_killed_during_worker_1s_write(
    busy: Site, server: PostgresServer
) -> None:
    # Given both workers mid-batch
    with busy.held_writes("weather_observations", "flights"):
        first, second = busy.start("worker_1"), busy.start("worker_2")
        busy.wait_until_writing("worker_1", "worker_2")
        # When the database is killed and comes back
        server.restart()
        # Then both finish within this very shift
        tallies = first.ends(), second.ends()
    assert all(tally.drained and tally.database_errors for tally in tallies)
    busy.everything_is_stored()
    busy.ledger_is_true()


def test_a_worker_killed_between_the_ledgers_commit_and_kafkas_doubles_nothing(busy: Site) -> None:
    # Given a worker whose ledger has committed a batch, and whose broker has not been told
    held = HeldCommits(busy.broker)
    worker = busy.start("worker_2", broker=held)
    assert held.reached.wait(30)
    done = sum(busy.offsets("a2").values())
    assert done > 0
    # When it is killed there
    worker.kill()
    # Then its next shift goes on behind that batch
    assert busy.run("worker_2").messages == len(busy.published["a2"]) - done
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def test_a_killed_broker_makes_the_worker_wait_not_lose(busy: Site, kafka: KafkaServer) -> None:
    # Given a worker that has begun
    worker = busy.start("worker_2", batch=50, seconds=90)
    _begun(busy)
    # When the broker is killed with SIGKILL, and comes back
    kafka.kill()
    kafka.start()
    # Then the worker goes on where it was
    assert worker.ends(90).drained
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def test_two_members_and_a_killed_third_share_the_work_and_do_it_once(busy: Site) -> None:
    # Given three workers of one name, one of which is killed
    three = [busy.start("worker_2", batch=50, seconds=60) for _ in range(3)]
    _begun(busy)
    time.sleep(random.Random(3).uniform(0, 0.5))
    three[0].kill()
    # When the others have ended their shift
    for worker in three[1:]:
        worker.ends(90)
    # Then the next one finds whatever the dead one held
    assert busy.run("worker_2").drained
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def _begun(site: Site) -> None:
    deadline = time.monotonic() + 30
    while not any(site.offsets("a2").values()):
        assert time.monotonic() < deadline, "the worker did not begin"
        time.sleep(0.05)
