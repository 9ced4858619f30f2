"""The interface of both brokers: send with acknowledgement; poll, seek and commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from include.errors import FaultError

BATCH_BYTES = 32 << 20
"""A batch gets no more messages once it has this many bytes."""
UNKNOWN_END = 2**63 - 1


class BrokerError(FaultError):
    """The broker cannot be reached or refuses; trying again may help."""


@dataclass(frozen=True)
class Message:
    """What a producer sends: messages of equal keys keep their order."""

    key: bytes
    value: bytes
    schema_id: str


class Received(NamedTuple):
    """A message with its position; a tuple, because many are made.

    `schema_id` is None where a broker has no headers, "" where the header is missing; its bytes are decoded with
    surrogate escapes, so that the original bytes can be shown.
    """

    partition: int
    offset: int
    value: bytes
    schema_id: str | None = None


class Bounds(NamedTuple):
    """What a partition holds: its oldest offset, and the one that comes next."""

    first: int
    end: int


EMPTY = Bounds(0, 0)


def beyond(positions: Mapping[int, int], bounds: Mapping[int, Bounds]) -> dict[int, int]:
    """The positions behind the end of their partition, where nothing can have been read."""
    return {partition: offset for partition, offset in positions.items() if offset > bounds.get(partition, EMPTY).end}


class Producer(Protocol):
    """Sends to a topic."""

    def log_id(self) -> str | None:
        """The identity of the topic's log among all logs of its name; None if there is no such topic."""

    def send(self, messages: Iterable[Message]) -> int:
        """Send messages in order and return how many, once every one is acknowledged.

        Raises `BrokerError` if any is not: sending again stores at worst some of them twice.
        """

    def close(self) -> None:
        """Close the connection."""


class Consumer(Protocol):
    """A member of a consumer group, reading one topic."""

    @property
    def where(self) -> str:
        """The topic's address, for messages."""

    def log_id(self) -> str | None:
        """The identity of the topic's log among all logs of its name; None if there is no such topic.

        Raises `BrokerError` if the broker cannot answer that now.
        """

    def bounds(self) -> Mapping[int, Bounds]:
        """What the log holds now, by partition; `UNKNOWN_END` where its end is not known."""

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """Up to `limit` messages, in order within a partition; waits up to `seconds` for the first."""

    def caught_up(self) -> bool:
        """Whether there was nothing more to read when `poll` last answered with nothing.

        Raises `BrokerError` if the topic was out of reach then.
        """

    def seek(self, positions: Mapping[int, int]) -> None:
        """Continue at these offsets, by partition; other partitions begin at their oldest message."""

    def commit(self, positions: Mapping[int, int]) -> None:
        """Commit the group's progress, by partition: the next offset to read."""

    def close(self) -> None:
        """Leave the group."""


class Broker(Protocol):
    """Topics that can be written and read."""

    def producer(self, topic: str) -> Producer:
        """A producer of a topic."""

    def consumer(self, topic: str, group: str) -> Consumer:
        """A new member of a topic's consumer group."""

    def expire(self, topic: str, before: datetime) -> int:
        """Delete what was sent before a moment and every group has committed; answers how many pieces.

        A broker that deletes by itself has nothing to do here.
        """
