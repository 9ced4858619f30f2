"""Kafka as the broker: idempotent producer, consumer group, offsets committed by hand and after the tables'."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka import Message as Delivered
from confluent_kafka.admin import AdminClient

from include.errors import SettingsError
from include.ingestion.brokers.broker import BATCH_BYTES, Bounds, BrokerError, Message, Received
from include.settings import Settings

SCHEMA_HEADER = "schema-id"
SEND_SECONDS = 30.0
"""A message that is not acknowledged by then counts as not sent."""
FETCH_KILOBYTES = 16 * 1024
"""What a consumer may hold ahead of its worker, for a backlog of any length."""
ANSWER_SECONDS = 5.0
KNOCK_SECONDS = 1.0
OUT_OF_REACH = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL)
"""What the client reports, among passing errors, when no message can come."""
FAILED = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._AUTO_OFFSET_RESET,
)
"""What a partition reports once and then gives nothing more."""
QUIET = {"log_level": 2, "reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 2_000}
"""We report errors once, instead of the client at every attempt."""
IN_FLIGHT = 10_000
"""Messages handed to the client before waiting for acknowledgements."""
TAKEN_AT_ONCE = 100
"""Messages asked of the client before their size is looked at."""
UNKNOWN = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
NO_ID = "A" * 22
"""The text of a missing topic id."""


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
        """Nothing: a cluster follows its topics' own `retention.ms`."""
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


class KafkaLog:
    """A topic's log: its identity, which is the id that Kafka gives a new topic, and its partitions."""

    def __init__(self, connection: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self._has_ids = False
        self._admin = AdminClient({**connection, **QUIET, "allow.auto.create.topics": False})

    def partitions(self) -> list[int] | None:
        """The topic's partitions; None when there is no such topic."""
        return self._described()[0]

    def log_id(self) -> str | None:
        """The topic's id, or the cluster's where topics have none (before Kafka 2.8); None: there is no such topic."""
        partitions, has_controller = self._described()
        if partitions is None:
            return None
        if not has_controller and not self._has_ids:
            return self._cluster_id()
        answer = self._admin.describe_topics(TopicCollection([self.topic]), request_timeout=ANSWER_SECONDS)
        try:
            topic_id = answer[self.topic].result().topic_id
        except KafkaException as error:
            if error.args[0].code() in UNKNOWN:
                return None
            if error.args[0].code() == KafkaError._UNSUPPORTED_FEATURE:
                return self._cluster_id()
            raise _broker_error(self.topic, error) from error
        self._has_ids = str(topic_id) != NO_ID
        return str(topic_id) if self._has_ids else self._cluster_id()

    def _described(self) -> tuple[list[int] | None, bool]:
        """The partitions, and whether there is a controller to ask more of."""
        with _reported(self.topic):
            cluster = self._admin.list_topics(self.topic, timeout=ANSWER_SECONDS)
        found = cluster.topics[self.topic]
        if found.error is None:
            return sorted(found.partitions), cluster.controller_id in cluster.brokers
        if found.error.code() in UNKNOWN:
            return None, True
        raise BrokerError(f"kafka: topic {self.topic}: {found.error.str()}")

    def _cluster_id(self) -> str:
        if (cluster := self._admin.cluster_id(timeout=ANSWER_SECONDS)) is None:
            raise BrokerError(f"kafka: topic {self.topic}: the cluster does not say which it is")
        return str(cluster)


class KafkaProducer:
    """Sends to one topic; `acks=all` and idempotence."""

    def __init__(self, connection: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self._log = KafkaLog(connection, topic)
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

    def log_id(self) -> str | None:
        """The topic's id."""
        return self._log.log_id()

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
        """Drop what was not acknowledged; its sender has had the error."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _produce(self, message: Message) -> None:
        try:
            self._producer.produce(
                self.topic,
                message.value,
                message.key,
                headers=[(SCHEMA_HEADER, message.schema_id.encode("utf-8", "surrogateescape"))],
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
    """Reads the partitions that the group gives it, from the positions in the tables, not from the broker's own."""

    def __init__(self, connection: Mapping[str, Any], topic: str, group: str) -> None:
        self.topic = topic
        self.where = f"kafka://{connection['bootstrap.servers']}"
        self._log = KafkaLog(connection, topic)
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
                # An offset that the log does not have is reported, never skipped or reset silently.
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": FETCH_KILOBYTES,
                "session.timeout.ms": 10_000,
                # A worker that waits for its database keeps its partitions; only a dead one loses them.
                "max.poll.interval.ms": 3_600_000,
                **QUIET,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def log_id(self) -> str | None:
        """The topic's id, asked of the cluster."""
        return self._log.log_id()

    def bounds(self) -> Mapping[int, Bounds]:
        """The oldest and the next offset of every partition."""
        with _reported(self.topic):
            asked = [TopicPartition(self.topic, partition) for partition in self._log.partitions() or ()]
            return {one.partition: self._bounds(one) for one in asked}

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """Messages as the client has fetched them; `BrokerError` when none came and the cluster is out of reach."""
        received: list[Received] = []
        size = 0
        deadline = time.monotonic() + seconds
        remaining = seconds
        while len(received) < limit and size < BATCH_BYTES and remaining >= 0:
            with _reported(self.topic):
                delivered = self._consumer.consume(min(limit - len(received), TAKEN_AT_ONCE), remaining)
            more = [_received(message) for message in delivered if not self._is_error(message)]
            received += more
            size += sum(len(message.value) for message in more)
            remaining = deadline - time.monotonic()
        if not received and self._trouble is not None:
            self._knock(self._trouble)
        self._trouble = None
        return received

    def caught_up(self) -> bool:
        """Whether this member has joined its group and read its partitions to their ends, as they are now."""
        with _reported(self.topic):
            assigned = self._consumer.assignment()
            ends = {one.partition: self._bounds(one).end for one in assigned}
            return self._joined and all(self._at(one) >= ends[one.partition] for one in assigned)

    def seek(self, positions: Mapping[int, int]) -> None:
        """Continue at these offsets, now and in partitions that are assigned later."""
        self._positions = dict(positions)
        with _reported(self.topic):
            if assigned := self._consumer.assignment():
                self._consumer.assign([self._start(one.partition) for one in assigned])

    def commit(self, positions: Mapping[int, int]) -> None:
        """Commit to the group, and wait for the answer."""
        if not positions:
            return
        offsets = [TopicPartition(self.topic, partition, offset) for partition, offset in positions.items()]
        self._positions |= positions
        with _reported(self.topic):
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """Leave the group, so that its partitions pass on at once."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign([self._start(partition.partition) for partition in partitions])
        self._joined = True

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = False

    def _bounds(self, partition: TopicPartition) -> Bounds:
        bounds = self._consumer.get_watermark_offsets(partition, timeout=ANSWER_SECONDS)
        if bounds is None:
            raise BrokerError(f"kafka: topic {self.topic}: no answer in {ANSWER_SECONDS:.0f} s")
        return Bounds(*map(int, bounds))

    def _at(self, partition: TopicPartition) -> int:
        """The next offset to read; before the first read, where reading begins."""
        position = self._consumer.position([partition])[0].offset
        return position if position >= 0 else self._positions.get(partition.partition, 0)

    def _knock(self, trouble: KafkaError) -> None:
        """The client reports an error once, and its end never: ask whether it still exists."""
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
        if error.fatal() or error.code() in FAILED:
            raise BrokerError(f"kafka: topic {self.topic}: {error.str()}")
        return True


@contextmanager
def _reported(topic: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise _broker_error(topic, error) from error


def _broker_error(topic: str, error: KafkaException) -> BrokerError:
    return BrokerError(f"kafka: topic {topic}: {error.args[0].str()}")


def _received(message: Delivered) -> Received:
    return Received(
        message.partition() or 0,
        message.offset() or 0,
        message.value() or b"",
        _schema_named(message).decode("utf-8", "surrogateescape"),
    )


def _schema_named(message: Delivered) -> bytes:
    """The schema's header; nothing if it is missing, or if the client cannot read the headers."""
    try:
        named = dict(message.headers() or []).get(SCHEMA_HEADER)
    except (UnicodeDecodeError, ValueError, SystemError):
        return b""
    return named.encode("utf-8", "surrogateescape") if isinstance(named, str) else named or b""
