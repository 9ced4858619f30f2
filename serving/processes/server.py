"""One worker process: uvicorn's server with an orderly end and deadlines for slow clients."""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import socket
import sys
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from serving.headers import SECURITY
from serving.processes.connection import ClientConnection
from serving.processes.crowd import RESERVED, Crowd
from serving.processes.listener import close_the_door
from serving.settings import ServingSettings

FILES = 256
"""Open files of a worker besides its connections."""
LINGER_SECONDS = 0.3
"""How long connections are still accepted and answered after SIGTERM, each with `connection: close`."""
TICKS = 5  # of uvicorn's 0.1 s, between two looks at the connections' deadlines

log = logging.getLogger("serving")


class Server(uvicorn.Server):
    """Serves an application on an inherited or own listener, until SIGTERM or the end of its parent."""

    def __init__(self, app: FastAPI, settings: ServingSettings, listener: socket.socket, *, child: bool) -> None:
        self._app = app
        self._crowd = Crowd(settings, app)
        self._listener = listener
        self._child = child
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(Any, partial(ClientConnection, self._crowd)),
                ws="none",
                lifespan="on",
                loop="uvloop",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                headers=SECURITY,
                timeout_keep_alive=math.ceil(settings.keep_alive_seconds),
                timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            )
        )

    def serve_until_told(self) -> None:
        """Serve; returns when the last request is answered, or the drain's deadline has passed."""
        _allow_files(self._crowd.settings.connections + RESERVED + FILES)
        self.run(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; a child notices the end of its parent, which holds the other end of its standard input."""
        await super().startup(sockets)
        if self._child:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._orphaned)

    async def on_tick(self, counter: int) -> bool:
        """The work of every 0.1 s."""
        if counter % TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(ClientConnection, connection).expire(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: first say so to health checks, then accept no more, then wait for what is under way."""
        self._app.state.draining = self._crowd.draining = True
        for connection in list(self.server_state.connections):
            cast(ClientConnection, connection).drain()
        if not self._child:
            close_the_door(self._listener)
        await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self.should_exit = True


def _allow_files(wanted: int) -> None:
    """Let this process open this many files; by default many systems allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            log.warning("this system allows %d open files, SERVING_CONNECTIONS need %d", allowed, wanted)
