"""What serving's connections use of uvicorn beyond its public interface; nothing listens."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serving.processes.connection import ClientConnection, Flow, Joined
from serving.processes.server import Server

REQUEST = b"POST /v1/predict HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    """A transport to nowhere that notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...


async def answer(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def exchanged() -> tuple[HttpToolsProtocol, list[bytes]]:
    """uvicorn's own connection after one request, and the writes of its answer."""

    async def exchange() -> tuple[HttpToolsProtocol, list[bytes]]:
        wire = Wire()
        config = uvicorn.Config(answer, log_config=None, ws="none", lifespan="off")
        connection = HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})
        connection.connection_made(wire)
        connection.data_received(REQUEST)
        for _ in range(5):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return connection, wire.written

    return asyncio.run(exchange())


def test_uvicorn_still_takes_a_connection_of_ours() -> None:
    assert issubclass(ClientConnection, HttpToolsProtocol)
    made = inspect.getsource(uvicorn.Server.startup)
    assert "config.http_protocol_class(" in made
    given = set(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert {"config", "server_state", "app_state"} <= given


def test_uvicorn_still_parses_by_these_methods() -> None:
    ours = [name for name, value in vars(ClientConnection).items() if inspect.isfunction(value)]
    parsing = ("data_received", "on_message_begin", "on_headers_complete", "on_message_complete")
    for name in ("connection_made", "connection_lost", *parsing, "on_response_complete", "send_400_response"):
        assert name in ours
        expected = list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters)
        assert list(inspect.signature(getattr(ClientConnection, name)).parameters) == expected


def test_uvicorn_still_keeps_a_connection_in_these_fields() -> None:
    connection, _ = exchanged()
    fields = {"app", "client", "cycle", "flow", "headers", "loop", "pipeline", "transport", "url"}
    assert fields <= set(vars(connection))
    assert connection.headers == [(b"host", b"here"), (b"content-length", b"2")]
    assert connection.url == b"/v1/predict"


def test_uvicorn_still_keeps_an_exchange_in_these_fields() -> None:
    connection, _ = exchanged()
    cycle = connection.cycle
    assert isinstance(cycle, RequestResponseCycle)
    assert (cycle.response_started, cycle.response_complete, cycle.more_body) == (True, True, False)
    assert {"keep_alive", "transport"} <= set(vars(cycle))


def test_uvicorn_still_writes_a_head_by_itself_and_then_the_body() -> None:
    _, (head, *rest) = exchanged()
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert b"".join(rest) == b"ok"
    assert {"write", "close", "is_closing"} <= set(vars(Joined)), "what uvicorn calls of a transport"


def test_uvicorn_still_stops_reading_by_this_class() -> None:
    assert issubclass(Flow, FlowControl)
    assert list(inspect.signature(FlowControl.__init__).parameters) == ["self", "transport"]
    assert callable(FlowControl.pause_reading)
    assert "self.flow.resume_reading()" in inspect.getsource(HttpToolsProtocol)


def test_uvicorn_still_starts_ticks_and_ends_by_these_methods() -> None:
    for name in ("startup", "on_tick", "shutdown"):
        expected = list(inspect.signature(getattr(uvicorn.Server, name)).parameters)
        assert list(inspect.signature(getattr(Server, name)).parameters) == expected
    server = uvicorn.Server(uvicorn.Config(answer, log_config=None))
    assert server.should_exit is False
    assert server.server_state.connections == set()
    assert "asyncio.sleep(0.1)" in inspect.getsource(uvicorn.Server.main_loop)
