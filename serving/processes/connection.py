"""A client's connection: uvicorn's, with a bound on how long and how large a request's head may be, and on idling."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.access.address import party
from serving.processes.crowd import Crowd

LONGEST_SECONDS = 300.0
"""A request that takes longer has a client that does not read its answer."""
BEYOND_SECONDS = 2.0
"""How long a head may take on a connection for which there was no room."""
LINES = 64
"""Data of more lines than that may be many requests, sent ahead; a head of a client of ours has ten."""
PIECE = 512
"""Bytes of such data that are parsed at once: room for some thirty requests, of 3 kB of memory each."""
WAITING = 8
"""Parsed requests of a connection that wait for their turn; no more is parsed then."""
HELD_BYTES = 64 * 2**20
"""What all connections have sent ahead; a connection that sends more than that is ended."""
HEADER_BYTES = 4
"""What separates a header's name, its value and the next one."""
TOO_LARGE = b"431 Request Header Fields Too Large"


class HeadTooLargeError(Exception):
    """A request's head is larger than what is read."""


class Joined:
    """A connection's transport for answers, that sends the head of each together with what follows.

    uvicorn writes them one after the other, and each write is a call into the kernel, a packet, and a wake-up of the
    client: 8 of 45 µs that a request takes at the least (measured 2026-11-21).
    """

    __slots__ = ("_answered", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._answered = False

    def write(self, data: bytes) -> None:
        """Hold an answer's head, and send all else at once; an interim answer (1xx) is no answer yet."""
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._answered and not data.startswith(b"HTTP/1.1 1"):
            self._head, self._answered = data, True
            return
        self._transport.write(data)

    def end(self) -> None:
        """An answer is whole: send its head if nothing followed."""
        if self._head:
            self.write(b"")
        self._answered = False

    def close(self) -> None:
        """End the connection after what was written."""
        self.end()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it ends."""
        return self._transport.is_closing()


class Flow(FlowControl):
    """uvicorn's, that reads no further while requests wait that were sent ahead."""

    def __init__(self, transport: asyncio.Transport, connection: ClientConnection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        """Read on, if nothing waits that was read before."""
        if not self._connection.behind:
            super().resume_reading()


class ClientConnection(HttpToolsProtocol):
    """Has a deadline at any time, which the server looks at from time to time: a timer each would cost more.

    What a client sends ahead waits unparsed, and nothing more is read until it has been answered.
    """

    def __init__(self, crowd: Crowd, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._crowd = crowd
        self._settings = crowd.settings
        self._party = ""
        self._within = True
        self._ahead = memoryview(b"")
        self._head = 0
        self._unsure = 0
        self._fed = 0
        self._in_head = False
        self._mixed = False
        self._over = False
        self._deadline = 0.0

    @property
    def behind(self) -> bool:
        """Whether requests wait that were sent ahead."""
        return bool(self._ahead or self.pipeline)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register it; if there are too many, for health checks only."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.flow = Flow(self.transport, self)
        self._joined = Joined(self.transport)
        self._party = party(self.client[0]) if self.client else ""
        self._within = self._crowd.join(self._party, transport)
        self._deadline = self.loop.time() + self._settings.head_seconds
        if not self._within:
            self.app = self._crowd.health_only
            self._deadline = self.loop.time() + min(self._settings.head_seconds, BEYOND_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it, and what it had sent ahead."""
        super().connection_lost(exc)
        self._crowd.leave(self._party, self.transport, within=self._within)
        self._put_ahead(memoryview(b""))

    def data_received(self, data: bytes) -> None:
        """Parse what came, or as much of it as can be answered soon."""
        if self._over:
            return
        if not self._ahead and (len(data) <= PIECE or data.count(b"\n") <= LINES):
            self._feed(data)
            return
        self._put_ahead(memoryview(bytes(self._ahead) + data))
        if self._crowd.held > HELD_BYTES:
            self.transport.abort()
            return
        self._feed_ahead()

    def _feed_ahead(self) -> None:
        """Parse what was sent ahead, piece by piece, until enough requests wait to be answered."""
        while self._ahead and len(self.pipeline) < WAITING:
            piece = bytes(self._ahead[:PIECE])
            self._put_ahead(self._ahead[PIECE:])
            self._feed(piece)
        if self._ahead:
            self.flow.pause_reading()
            self._deadline = self.loop.time() + LONGEST_SECONDS

    def _put_ahead(self, data: memoryview) -> None:
        self._crowd.held += len(data) - len(self._ahead)
        self._ahead = data

    def _feed(self, data: bytes) -> None:
        self._fed, self._mixed = len(data), False
        super().data_received(data)
        if self._in_head and not self._over:
            if self._mixed:  # the last header that came may be large, and is not parsed before it ends
                self._head, self._unsure = self._head_size(), len(data)
            else:
                self._head += len(data)
            if self._head > self._settings.head_bytes:
                self._refuse(TOO_LARGE)

    def _head_size(self) -> int:
        """Bytes of the present head, as far as it is parsed."""
        return len(self.url) + sum(len(name) + len(value) + HEADER_BYTES for name, value in self.headers)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head, self._unsure, self._in_head = 0, 0, True
        if self._within:
            self._deadline = self.loop.time() + self._settings.head_seconds

    def on_headers_complete(self) -> None:
        """A head is there; `HeadTooLargeError`, which ends the parsing, for one that came at once and is too large."""
        largest = self._head + self._unsure + self._fed
        if largest > self._settings.head_bytes and self._head_size() > self._settings.head_bytes:
            self._refuse(TOO_LARGE)
            raise HeadTooLargeError
        super().on_headers_complete()
        self._in_head = False
        # Only here is a body noticed that never begins; `Limits` times the others.
        self._deadline = self.loop.time() + 2 * self._settings.body_seconds
        if self.cycle is not None:  # None before an upgrade that is not ours
            self.cycle.transport = cast(asyncio.Transport, self._joined)
            self.cycle.keep_alive = self.cycle.keep_alive and self._within and not self._crowd.draining

    def on_message_complete(self) -> None:
        """A request is there, all of it."""
        super().on_message_complete()
        self._mixed = True
        if self.cycle is not None and not self.cycle.response_complete:
            self._deadline = self.loop.time() + LONGEST_SECONDS

    def on_response_complete(self) -> None:
        """An answer is sent; the wait for the next head begins."""
        self._joined.end()
        super().on_response_complete()
        if self._ahead and not self.transport.is_closing():
            self._feed_ahead()
            self.flow.resume_reading()
        if not self._in_head:
            self._deadline = self.loop.time() + self._settings.keep_alive_seconds

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed or refused request."""
        if not self._over and not self._end_after_answers():
            super().send_400_response(msg)

    def drain(self) -> None:
        """Answer open requests with `connection: close`."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def expire(self, now: float) -> None:
        """End it if its deadline has passed."""
        if now < self._deadline or self.transport is None:
            return
        waits = self._in_head or (self.cycle is not None and self.cycle.more_body and not self.cycle.response_started)
        if waits and not self._over and not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.abort()

    def _refuse(self, status: bytes) -> None:
        if self._end_after_answers():
            return
        self.transport.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()

    def _end_after_answers(self) -> bool:
        """Read no more, and end the connection with the answers that are due; whether there are any.

        A refusal in between would be taken for the answer to another request.
        """
        self._over = True
        self._put_ahead(memoryview(b""))
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        self._deadline = self.loop.time() + LONGEST_SECONDS
        return True
