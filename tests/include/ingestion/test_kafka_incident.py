"""The same promises with Kafka as the broker."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from include.ingestion.brokers.address import open_broker
from include.ingestion.brokers.broker import Broker, Consumer, Message, Producer
from include.settings import Settings
from tests.include.ingestion.site import HeldCommits, Site, Wrapped
from tests.kafka_server import KafkaServer
from tests.postgres_server import PostgresServer
from tests.waiting import PATIENCE

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


class Renamed(Wrapped):
    """A broker whose topics carry a suffix, so that tests do not meet in one."""

    def __init__(self, broker: Broker, suffix: str) -> None:
        super().__init__(broker)
        self.suffix = suffix

    def producer(self, topic: str) -> Producer:
        return self.broker.producer(f"{topic}-{self.suffix}")

    def consumer(self, topic: str, group: str) -> Consumer:
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
    assert held.reached.wait(PATIENCE)
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
    worker = busy.start("worker_2", batch=50)
    _begun(busy)
    # When the broker is killed with SIGKILL, and comes back
    kafka.kill()
    kafka.start()
    # Then the worker goes on where it was
    assert worker.ends().drained
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def test_two_members_and_a_killed_third_share_the_work_and_do_it_once(busy: Site) -> None:
    # Given three workers of one name, one of which is killed
    three = [busy.start("worker_2", batch=50) for _ in range(3)]
    _begun(busy)
    time.sleep(random.Random(3).uniform(0, 0.5))
    three[0].kill()
    # When the others have ended their shift
    for worker in three[1:]:
        worker.ends()
    # Then the next one finds whatever the dead one held
    assert busy.run("worker_2").drained
    busy.everything_is_stored("a2")
    busy.ledger_is_true("a2")


def test_a_topic_that_is_made_again_within_a_shift_is_read_from_its_start(
    kafka: KafkaServer, database: str, messages: dict[str, list[Message]], admin: Admin
) -> None:
    # Given a worker that has read a topic, and waits for more
    name = f"again-{uuid.uuid4().hex[:6]}"
    site = Site(database, Alone(open_broker(Settings(broker=kafka.address)), name))
    site.publish("a2", messages["a2"][:100])
    worker = site.start("worker_2", drain=False)
    _read(site, 100)
    # When the topic is deleted, and made again with more than it had
    admin.delete(name)
    site.publish("a2", messages["a2"][100:400])
    # Then all of it is stored
    site.wait_until_stored("a2")
    tally = worker.is_over()
    site.close()
    assert tally.broker_errors
    site.everything_is_stored("a2")


def test_a_topic_that_was_made_again_between_shifts_is_read_from_its_start(
    kafka: KafkaServer, database: str, messages: dict[str, list[Message]], admin: Admin
) -> None:
    name = f"again-{uuid.uuid4().hex[:6]}"
    site = Site(database, Alone(open_broker(Settings(broker=kafka.address)), name))
    site.publish("a2", messages["a2"][:200])
    assert site.run("worker_2").drained
    admin.delete(name)
    # While it is not there it is away, and no wrong setting
    with pytest.raises(AssertionError, match="did not drain"):
        assert site.run("worker_2", seconds=2).drained, "did not drain"
    site.publish("a2", messages["a2"][200:300])
    assert site.run("worker_2").messages == 100
    site.everything_is_stored("a2")


def test_what_kafka_deleted_before_it_was_read_is_counted(
    kafka: KafkaServer, database: str, messages: dict[str, list[Message]], admin: Admin
) -> None:
    # Given a topic that is read up to an offset, and goes on
    name = f"gone-{uuid.uuid4().hex[:6]}"
    site = Site(database, Alone(open_broker(Settings(broker=kafka.address)), name))
    same_key = [Message(b"key", message.value, message.schema_id) for message in messages["a2"][:90]]
    site.publish("a2", same_key[:30])
    assert site.run("worker_2").messages == 30
    site.publish("a2", same_key[30:])
    # When its retention takes more than what was read
    (partition,) = site.offsets("a2")
    admin.delete_before(name, partition, 50)
    # Then the next shift reads the rest, and says what it never saw
    tally = site.run("worker_2")
    assert (tally.messages, tally.gone, tally.drained) == (40, 20, True)


def test_a_topic_that_never_was_is_a_wrong_setting(kafka: KafkaServer, database: str) -> None:
    site = Site(database, Alone(open_broker(Settings(broker=kafka.address)), f"never-{uuid.uuid4().hex[:6]}"))
    with pytest.raises(AssertionError, match=r"SettingsError.*there is no topic a2 at kafka://127"):
        site.run("worker_2")


def test_a_header_of_any_bytes_is_kept_with_its_letter(
    kafka: KafkaServer, database: str, messages: dict[str, list[Message]]
) -> None:
    # Given messages whose headers hold what no text column takes
    name = f"headers-{uuid.uuid4().hex[:6]}"
    site = Site(database, Alone(open_broker(Settings(broker=kafka.address)), name))
    value = messages["a2"][0].value
    stranger = KafkaProducer({"bootstrap.servers": f"127.0.0.1:{kafka.port}"})
    odd = [b"a2/1\x00", b"\xff\xfe", b"\xed\xa0\x80", b"x" * 100_000, b"\x1b[2J\n"]
    for header in odd:
        stranger.produce(name, value, key=b"\x00", headers=[("schema-id", header)])
    stranger.produce(name, value, headers=[("", b"a2/1"), ("schema-id", None)])
    stranger.produce(name, value, headers=[("schema-id", b"a2/1"), ("", b"\x00")], timestamp=1)
    stranger.produce(name, None, headers=[("schema-id", b"a2/1")])
    stranger.flush(PATIENCE)
    # When the worker works
    tally = site.run("worker_2")
    # Then each is a letter with its very header, and the sound one is stored
    assert (tally.records, tally.dead_letters, tally.drained) == (1, len(odd) + 2, True)
    with psycopg.connect(database) as session:
        rows = session.execute("SELECT schema_id, reason FROM dead_letters").fetchall()
    assert {bytes(header) for header, _ in rows} == {*odd, b"", b"a2/1"}
    assert all(reason.isprintable() and len(reason) < 400 for _, reason in rows)


class Alone(Wrapped):
    """A broker whose only topic has another name than it is asked for."""

    def __init__(self, broker: Broker, name: str) -> None:
        super().__init__(broker)
        self.name = name

    def producer(self, topic: str) -> Producer:
        return self.broker.producer(self.name)

    def consumer(self, topic: str, group: str) -> Consumer:
        return self.broker.consumer(self.name, f"{group}-{self.name}")


class Admin:
    """An operator of the cluster."""

    def __init__(self, kafka: KafkaServer) -> None:
        self.client = AdminClient({"bootstrap.servers": f"127.0.0.1:{kafka.port}"})

    def delete(self, topic: str) -> None:
        self.client.delete_topics([topic])[topic].result()
        deadline = time.monotonic() + PATIENCE
        while topic in self.client.list_topics(timeout=5).topics:
            assert time.monotonic() < deadline, "the topic does not go"
            time.sleep(0.05)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        place = TopicPartition(topic, partition, offset)
        self.client.delete_records([place])[place].result()


@pytest.fixture
def admin(kafka: KafkaServer) -> Admin:
    return Admin(kafka)


def _read(site: Site, messages: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while sum(site.offsets("a2").values()) < messages:
        assert time.monotonic() < deadline, "the worker does not read"
        time.sleep(0.05)


def _begun(site: Site) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(site.offsets("a2").values()):
        assert time.monotonic() < deadline, "the worker did not begin"
        time.sleep(0.05)
