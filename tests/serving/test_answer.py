from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.answer import Shield, send_json
from serving.errors import NotYetError

SECRET = "what the caller sent"


def ask(app: ASGIApp) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Shield(app)), base_url="http://x") as client:
            return await client.get("/")

    return asyncio.run(run())


async def surprise(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError(SECRET)


def test_a_surprise_is_500_and_one_line_that_repeats_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask(surprise)

    assert (answer.status_code, answer.json()) == (500, {"detail": "internal error; the server's log has more"})
    assert SECRET not in caplog.text
    (record,) = caplog.records
    assert record.getMessage().startswith(f"internal error: KeyError at {__name__}:")
    assert record.exc_info is None


def test_an_error_of_ours_is_the_answer_it_names() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise NotYetError("nothing yet", 3)

    answer = ask(app)

    assert (answer.status_code, answer.json()) == (503, {"detail": "nothing yet"})
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("error", [KeyError(SECRET), NotYetError("nothing yet", 3)])
def test_an_answer_that_has_begun_is_not_begun_again(error: Exception) -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, b"{}")
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads here")

    asyncio.run(Shield(app)({"type": "http"}, receive, send))

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 200
