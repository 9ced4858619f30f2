"""All connections of a worker, and which of them are within the limits."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.answer import refuse
from serving.settings import ServingSettings

RESERVED = 128
"""Connections beyond the limits that are accepted for `HEALTH` only; the oldest is closed when there are more."""
HEALTH = frozenset({"/healthz", "/readyz"})
_FULL = [(b"retry-after", b"1"), (b"connection", b"close")]


class Crowd:
    """Counts the connections, by address, and those beyond the limits.

    `held` is the number of bytes that they have sent ahead and that nobody has looked at yet.
    """

    def __init__(self, settings: ServingSettings, app: ASGIApp) -> None:
        self.settings = settings
        self.draining = False
        self.held = 0
        self._app = app
        self._addresses: Counter[str] = Counter()
        self._within = 0
        self._beyond: dict[asyncio.BaseTransport, None] = {}

    def join(self, address: str, transport: asyncio.BaseTransport) -> bool:
        """Take a connection in; whether it is within the bounds."""
        fits = (
            self._within < self.settings.connections
            and self._addresses[address] < self.settings.connections_per_address
        )
        if fits:
            self._within += 1
            self._addresses[address] += 1
            return True
        self._beyond[transport] = None
        if len(self._beyond) > RESERVED:
            oldest = next(iter(self._beyond))
            del self._beyond[oldest]
            if isinstance(oldest, asyncio.Transport):
                oldest.abort()
        return False

    def leave(self, address: str, transport: asyncio.BaseTransport, *, within: bool) -> None:
        """Forget a connection."""
        if not within:
            self._beyond.pop(transport, None)
            return
        self._within -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    async def health_only(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application for connections beyond the bounds."""
        if scope["path"] in HEALTH:
            await self._app(scope, receive, send)
        else:
            await refuse(send, 503, "too many connections; try again", _FULL)
