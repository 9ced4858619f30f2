"""The Kafka broker against a real one: order, acknowledgement, positions, groups, credentials, a kill."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer as RawProducer
from confluent_kafka import TopicPartition

from include.errors import SettingsError
from include.ingestion.brokers.address import open_broker
from include.ingestion.brokers.broker import Broker, BrokerError, Consumer, Message, Received
from include.ingestion.brokers.kafka import KafkaBroker, KafkaConsumer, connection
from include.settings import KafkaMechanism, KafkaSecurity, Settings
from tests.certificates import Authority
from tests.kafka_server import PASSWORD, USER, KafkaServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.stack


@pytest.fixture
def broker(kafka: KafkaServer) -> Broker:
    return open_broker(Settings(broker=kafka.address))


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def consumer(broker: Broker, topic: str) -> Iterator[Consumer]:
    consumer = broker.consumer(topic, "readers")
    yield consumer
    consumer.close()


def messages(count: int, begin: int = 0) -> list[Message]:
    return [Message(f"key-{n % 7}".encode(), f"{n}".encode(), "a1/1") for n in range(begin, begin + count)]


def send(broker: Broker, topic: str, sent: list[Message]) -> None:
    producer = broker.producer(topic)
    try:
        assert producer.send(sent) == len(sent)
    finally:
        producer.close()


def read(consumer: Consumer, seconds: float = PATIENCE) -> list[Received]:
    """Everything there is now."""
    found: list[Received] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            more = consumer.poll(1000, 0.5)
            if not more and consumer.caught_up():
                return found
        except BrokerError:
            continue
        found += more
    raise AssertionError(f"not caught up in {seconds} s; {len(found)} read")


def test_what_is_sent_is_read_in_order_within_a_key_and_names_its_schema(
    broker: Broker, topic: str, consumer: Consumer
) -> None:
    send(broker, topic, messages(500))
    received = read(consumer)
    assert sorted(int(message.value) for message in received) == list(range(500))
    for key in range(7):
        of_key = [int(message.value) for message in received if int(message.value) % 7 == key]
        assert of_key == sorted(of_key)
    assert {message.schema_id for message in received} == {"a1/1"}


def test_a_message_without_the_schema_header_says_so(kafka: KafkaServer, topic: str, consumer: Consumer) -> None:
    stranger = RawProducer({"bootstrap.servers": f"127.0.0.1:{kafka.port}"})
    stranger.produce(topic, b"anything")
    stranger.flush(PATIENCE)
    assert [message.schema_id for message in read(consumer)] == [""]


def test_reading_begins_where_the_tables_stand_not_where_the_broker_thinks(broker: Broker, topic: str) -> None:
    # Given a group that has committed everything to the broker
    send(broker, topic, messages(100))
    first = broker.consumer(topic, "workers")
    received = read(first)
    ends = {message.partition: message.offset + 1 for message in received}
    first.commit(ends)
    first.close()
    # When the tables stand behind that, as after a restored backup
    second = broker.consumer(topic, "workers")
    second.seek({partition: end - 5 for partition, end in ends.items()})
    again = read(second)
    second.close()
    # Then the tables are believed
    assert len(again) == 5 * len(ends)


def test_offsets_are_committed_by_hand_only(broker: Broker, topic: str) -> None:
    send(broker, topic, messages(50))
    consumer = broker.consumer(topic, "by-hand")
    assert isinstance(consumer, KafkaConsumer)
    received = read(consumer)
    partitions = sorted({message.partition for message in received})
    assert committed(consumer, topic, partitions) == dict.fromkeys(partitions, None)
    consumer.commit({partitions[0]: 3})
    assert committed(consumer, topic, partitions)[partitions[0]] == 3
    consumer.close()


def committed(consumer: KafkaConsumer, topic: str, partitions: list[int]) -> Mapping[int, int | None]:
    found = consumer._consumer.committed([TopicPartition(topic, each) for each in partitions], timeout=10)
    return {each.partition: each.offset if each.offset >= 0 else None for each in found}


def test_seeking_back_within_a_group_reads_again_from_there(broker: Broker, topic: str, consumer: Consumer) -> None:
    send(broker, topic, messages(40))
    once = read(consumer)
    consumer.seek({})
    assert sorted(read(consumer), key=place) == sorted(once, key=place)


def place(message: Received) -> tuple[int, int]:
    return message.partition, message.offset


def test_members_of_a_group_share_the_partitions(broker: Broker, topic: str) -> None:
    send(broker, topic, messages(10))
    both = [broker.consumer(topic, "sharing") for _ in range(2)]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for member in both:
            member.poll(10, 0.2)
        shares = [{p.partition for p in member._consumer.assignment()} for member in both]  # type: ignore[attr-defined]
        if all(shares):
            break
    for member in both:
        member.close()
    assert sorted(len(share) for share in shares) == [1, 1]
    assert shares[0] != shares[1]


def test_a_killed_broker_is_an_error_to_both_sides_and_keeps_what_it_acknowledged(
    kafka: KafkaServer, broker: Broker, topic: str, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given acknowledged messages and a reader
    monkeypatch.setattr("include.ingestion.brokers.kafka.SEND_SECONDS", 2.0)
    send(broker, topic, messages(100))
    assert len(read(consumer)) == 100
    # When the broker is killed with SIGKILL
    kafka.kill()
    # Then sending fails, and reading too rather than finding nothing
    with pytest.raises(BrokerError, match="is the broker up"):
        send(broker, topic, messages(10, begin=1000))
    with pytest.raises(BrokerError):
        for _ in range(40):
            consumer.poll(10, 0.5)
    # And after its return what was acknowledged is all there
    kafka.start()
    later = broker.consumer(topic, "later")
    assert {int(message.value) for message in read(later)} >= set(range(100))
    later.close()


def test_a_password_lets_one_in_and_a_wrong_one_says_so(kafka: KafkaServer, topic: str) -> None:
    right = Settings(
        broker=kafka.protected_address,
        kafka_security=KafkaSecurity.SASL_PLAINTEXT,
        kafka_mechanism=KafkaMechanism.PLAIN,
        kafka_username=USER,
        kafka_password=PASSWORD,
    )
    send(open_broker(right), topic, messages(10))
    consumer = open_broker(right).consumer(topic, "members")
    assert len(read(consumer)) == 10
    consumer.close()

    wrong = KafkaBroker({**connection(right), "sasl.password": "wrong"}).consumer(topic, "strangers")
    with pytest.raises(BrokerError, match=r"(?i)authentication|brokers are down"):
        for _ in range(20):
            wrong.poll(1, 0.5)
    wrong.close()


@pytest.fixture
def encrypted(kafka: KafkaServer) -> dict[str, Any]:
    """The settings that the encrypted listener asks for."""
    client = kafka.authority.sign("client")
    return {
        "broker": kafka.encrypted_address,
        "kafka_security": KafkaSecurity.SASL_SSL,
        "kafka_mechanism": KafkaMechanism.PLAIN,
        "kafka_username": USER,
        "kafka_password": PASSWORD,
        "kafka_ca": str(kafka.authority.ca),
        "kafka_certificate": str(client.certificate),
        "kafka_key": str(client.key),
    }


def test_tls_with_certificates_of_ones_own_authority_carries_messages(encrypted: dict[str, Any], topic: str) -> None:
    broker = open_broker(Settings(**encrypted))
    send(broker, topic, messages(10))
    consumer = broker.consumer(topic, "encrypted")
    assert len(read(consumer)) == 10
    consumer.close()


def test_a_broker_whose_authority_is_not_ours_gets_and_gives_nothing(
    encrypted: dict[str, Any], topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.ingestion.brokers.kafka.SEND_SECONDS", 3.0)
    stranger = open_broker(Settings(**encrypted | {"kafka_ca": str(Authority(tmp_path).ca)}))
    with pytest.raises(BrokerError, match="kafka: topic"):
        send(stranger, topic, messages(1))
    consumer = stranger.consumer(topic, "strangers")
    with pytest.raises(BrokerError, match=r"(?i)certificate|ssl|brokers are down"):
        for _ in range(20):
            consumer.poll(1, 0.5)
    consumer.close()


def test_a_client_without_a_certificate_is_turned_away(
    encrypted: dict[str, Any], topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.ingestion.brokers.kafka.SEND_SECONDS", 3.0)
    bare = open_broker(Settings(**encrypted | {"kafka_certificate": None, "kafka_key": None}))
    with pytest.raises(BrokerError, match="kafka: topic"):
        send(bare, topic, messages(1))


def test_the_settings_become_the_clients() -> None:
    tls = Settings(
        broker="kafka://one:9093,two:9093",
        kafka_security=KafkaSecurity.SASL_SSL,
        kafka_username="me",
        kafka_password="secret",
        kafka_ca="/tls/ca.pem",
    )
    assert connection(tls) == {
        "bootstrap.servers": "one:9093,two:9093",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "secret",
        "ssl.ca.location": "/tls/ca.pem",
    }
    assert connection(Settings(broker="kafka://one:9092")) == {
        "bootstrap.servers": "one:9092",
        "security.protocol": "plaintext",
    }


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (Settings(broker="kafka://"), "no server is named"),
        (Settings(broker="kafka://a:1", kafka_security=KafkaSecurity.SASL_SSL), "NIGHTSHIFT_KAFKA_USERNAME"),
    ],
)
def test_what_is_missing_is_named(settings: Settings, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        connection(settings)
