"""The small interface that both brokers have: send and be acknowledged; poll, seek and commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from include.errors import FaultError

BATCH_BYTES = 32 << 20
"""A batch is not added to once it is as large as this, however few its messages."""
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
    """The way into a topic."""

    def log_id(self) -> str | None:
        """What tells the topic's log from any other that had or has its name; None when there is no such topic."""

    def send(self, messages: Iterable[Message]) -> int:
        """Send messages in order and return how many, once every one is acknowledged.

        Raises `BrokerError` when any is not: sending the same again stores at worst some of them twice.
        """

    def close(self) -> None:
        """Let go of the broker."""


class Consumer(Protocol):
    """A member of a consumer group, reading one topic."""

    @property
    def where(self) -> str:
        """The topic's address, for messages."""

    def log_id(self) -> str | None:
        """What tells the topic's log from any other that had or has its name; None when there is no such topic.

        Raises `BrokerError` if the broker cannot answer that now.
        """

    def bounds(self) -> Mapping[int, Bounds]:
        """What the log holds now, by partition; `UNKNOWN_END` where its end is not known."""

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """Up to `limit` messages, in order within a partition; waits up to `seconds` for the first."""

    def caught_up(self) -> bool:
        """Whether there was nothing more to read when `poll` last answered with nothing.

        Raises `BrokerError` when the topic was not to be seen then.
        """

    def seek(self, positions: Mapping[int, int]) -> None:
        """Go on at these offsets, by partition; partitions that are not named begin at their oldest message."""

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tell the broker what the group has done, by partition: the next offset it owes."""

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

        A broker that does so by itself has nothing to do here.
        """
