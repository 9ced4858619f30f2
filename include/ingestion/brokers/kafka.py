"""Kafka as the broker: idempotent producer, consumer group, offsets committed by hand and after the tables'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Delivered

from include.errors import SettingsError
from include.ingestion.brokers.broker import BrokerError, Message, Received
from include.settings import Settings

SCHEMA_HEADER = "schema-id"
SEND_SECONDS = 30.0
"""A message that is not acknowledged by then counts as not sent."""
FETCH_KILOBYTES = 16 * 1024
"""What a consumer may hold ahead of its worker, however long the backlog."""
ANSWER_SECONDS = 5.0
KNOCK_SECONDS = 1.0
OUT_OF_REACH = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL)
"""What the client reports, among passing troubles, when no message can come."""
QUIET = {"log_level": 2, "reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 2_000}
"""Trouble is reported by us, once, rather than by the client at every attempt."""
IN_FLIGHT = 10_000
"""Messages handed to the client before waiting for acknowledgements."""


@dataclass(frozen=True)
class KafkaBroker:
    """A cluster, by the client settings that reach it."""

    connection: Mapping[str, Any]

    def producer(self, topic: str) -> KafkaProducer:
        """An idempotent producer: its own retries neither double nor reorder."""
        return KafkaProducer(self.connection, topic)

    def consumer(self, topic: str, group: str) -> KafkaConsumer:
        """A member of the group; the topic's partitions are shared out among the members."""
        return KafkaConsumer(self.connection, topic, group)

    def expire(self, topic: str, before: datetime) -> int:
        """Nothing: a cluster keeps to its topics' own `retention.ms`."""
        return 0


def connection(settings: Settings) -> dict[str, Any]:
    """The client's settings for reaching the cluster: addresses, protocol, credentials, certificates."""
    servers = urlsplit(settings.broker).netloc
    if not servers:
        raise SettingsError(f"NIGHTSHIFT_BROKER {settings.broker!r}: no server is named; write kafka://host:9092")
    if settings.kafka_security.sasl and not (settings.kafka_username and settings.kafka_password):
        raise SettingsError(
            f"NIGHTSHIFT_KAFKA_SECURITY={settings.kafka_security} needs NIGHTSHIFT_KAFKA_USERNAME and _PASSWORD"
        )
    password = settings.kafka_password.get_secret_value() if settings.kafka_password else None
    sasl = {
        "sasl.mechanism": settings.kafka_mechanism.value,
        "sasl.username": settings.kafka_username,
        "sasl.password": password,
    }
    tls = {
        "ssl.ca.location": settings.kafka_ca,
        "ssl.certificate.location": settings.kafka_certificate,
        "ssl.key.location": settings.kafka_key,
    }
    wanted: dict[str, Any] = {"bootstrap.servers": servers, "security.protocol": settings.kafka_security.value}
    wanted |= (sasl if settings.kafka_security.sasl else {}) | (tls if settings.kafka_security.tls else {})
    return {name: value for name, value in wanted.items() if value is not None}


class KafkaProducer:
    """Sends to one topic; `acks=all` and idempotence."""

    def __init__(self, connection: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                **connection,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 20,
                "delivery.timeout.ms": int(SEND_SECONDS * 1000),
                **QUIET,
            }
        )

    def send(self, messages: Iterable[Message]) -> int:
        """Produce in order and wait until all are acknowledged by all replicas in sync."""
        self._failed = None
        count = 0
        for message in messages:
            self._produce(message)
            count += 1
            if count % IN_FLIGHT == 0:
                self._settle()
        self._settle()
        return count

    def close(self) -> None:
        """Forget what was not acknowledged; its sender has been told."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _produce(self, message: Message) -> None:
        try:
            self._producer.produce(
                self.topic,
                message.value,
                message.key,
                headers=[(SCHEMA_HEADER, message.schema_id.encode())],
                on_delivery=self._delivered,
            )
        except (BufferError, KafkaException) as error:
            raise BrokerError(f"kafka: topic {self.topic}: {error}") from error
        self._producer.poll(0)

    def _settle(self) -> None:
        left = self._producer.flush(SEND_SECONDS + 1)
        if left or self._failed is not None:
            reason = self._failed.str() if self._failed else f"{left} messages are not acknowledged"
            raise BrokerError(f"kafka: topic {self.topic}: {reason}; is the broker up?")

    def _delivered(self, error: KafkaError | None, _message: Delivered) -> None:
        self._failed = self._failed or error


class KafkaConsumer:
    """Reads the partitions that the group gives it, from the positions it is told: the tables', not the broker's."""

    def __init__(self, connection: Mapping[str, Any], topic: str, group: str) -> None:
        self.topic = topic
        self._positions: dict[int, int] = {}
        self._joined = False
        self._trouble: KafkaError | None = None
        self._consumer = Consumer(
            {
                **connection,
                "error_cb": self._note_trouble,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": FETCH_KILOBYTES,
                "session.timeout.ms": 10_000,
                # A worker that waits for its database keeps its partitions; only a dead one loses them.
                "max.poll.interval.ms": 3_600_000,
                **QUIET,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """Messages as the client has fetched them; `BrokerError` when none came and the cluster is out of reach."""
        with self._reported():
            delivered = self._consumer.consume(limit, seconds)
        received = [_received(message) for message in delivered if not self._is_error(message)]
        if not received and self._trouble is not None:
            self._knock(self._trouble)
        self._trouble = None
        return received

    def caught_up(self) -> bool:
        """Whether this member has joined its group and read its partitions to their ends, as they are now."""
        with self._reported():
            assigned = self._consumer.assignment()
            ends = {one.partition: self._end(one) for one in assigned}
            return self._joined and all(self._at(one) >= ends[one.partition] for one in assigned)

    def seek(self, positions: Mapping[int, int]) -> None:
        """Go on at these offsets, now and in partitions that are assigned later."""
        self._positions = dict(positions)
        with self._reported():
            if assigned := self._consumer.assignment():
                self._consumer.assign([self._start(one.partition) for one in assigned])

    def commit(self, positions: Mapping[int, int]) -> None:
        """Commit to the group, and wait for the answer."""
        if not positions:
            return
        offsets = [TopicPartition(self.topic, partition, offset) for partition, offset in positions.items()]
        self._positions |= positions
        with self._reported():
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """Leave the group, so that its partitions pass on at once."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign([self._start(partition.partition) for partition in partitions])
        self._joined = True

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = False

    def _end(self, partition: TopicPartition) -> int:
        bounds = self._consumer.get_watermark_offsets(partition, timeout=ANSWER_SECONDS)
        if bounds is None:
            raise BrokerError(f"kafka: topic {self.topic}: no answer in {ANSWER_SECONDS:.0f} s")
        return int(bounds[1])

    def _at(self, partition: TopicPartition) -> int:
        """The next offset to read; before the first read, where reading begins."""
        position = self._consumer.position([partition])[0].offset
        return position if position >= 0 else self._positions.get(partition.partition, 0)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise BrokerError(f"kafka: topic {self.topic}: {error.args[0].str()}") from error

    def _knock(self, trouble: KafkaError) -> None:
        """The client reports trouble once, and its end never: ask whether it is still there."""
        try:
            self._consumer.list_topics(self.topic, timeout=KNOCK_SECONDS)
        except KafkaException as error:
            raise BrokerError(f"kafka: topic {self.topic}: {trouble.str()}") from error

    def _note_trouble(self, error: KafkaError) -> None:
        if error.code() in OUT_OF_REACH:
            self._trouble = error

    def _start(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition, self._positions.get(partition, 0))

    def _is_error(self, message: Delivered) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.fatal() or error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
            raise BrokerError(f"kafka: topic {self.topic}: {error.str()}")
        return True


def _received(message: Delivered) -> Received:
    headers = dict(message.headers() or [])
    named = headers.get(SCHEMA_HEADER) or b""
    return Received(
        message.partition() or 0,
        message.offset() or 0,
        message.value() or b"",
        named.decode("utf-8", "replace") if isinstance(named, bytes) else str(named),
    )
