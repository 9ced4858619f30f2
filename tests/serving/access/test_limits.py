from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import limits
from serving.access.caller import ANONYMOUS
from serving.access.limits import RequestLimits
from serving.access.rate import Rate
from serving.answer import Shield, send_json
from serving.settings import ServingSettings
from serving.telemetry.metrics import Telemetry

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class Known:
    """Stands where `Access` does: the caller is whoever the header `x-caller` names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = dict(scope["headers"]).get(b"x-caller", ANONYMOUS.name.encode()).decode()
        scope["state"] = {"caller": name, "rate": 3.0 if name == "own" else None}
        await self._app(scope, receive, send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the length of the body."""
    message = await receive() if scope["method"] == "POST" else {}
    assert not message.get("more_body")
    await send_json(send, 200, b"%d" % len(message.get("body", b"")))


@asynccontextmanager
async def client(handler: Handler = echo, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = Shield(Known(RequestLimits(handler, ServingSettings(releases="nowhere", **given), Telemetry())))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", timeout=30) as found:
        yield found


@given(
    rate=st.floats(0.5, 100),
    burst=st.floats(0.5, 5),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_a_caller_never_gets_more_than_its_rate_and_one_burst(rate: float, burst: float, gaps: list[float]) -> None:
    bucket, now, allowed = Rate(rate, burst), 100.0, 0
    for gap in gaps:
        now += gap
        wait = bucket.wait("a", now)
        allowed += wait == 0
        assert wait >= 0
        if wait:
            # Whoever waits as told is let through.
            now += wait + 1e-6
            assert bucket.wait("a", now) == 0
            allowed += 1

    assert allowed <= rate * (now - 100) + max(rate * burst, 1) + 1e-6


def test_callers_do_not_use_up_each_others_rate() -> None:
    rate = Rate(1, 1)

    assert [rate.wait("a", 0), rate.wait("b", 0)] == [0, 0]
    assert rate.wait("a", 0) == 1
    assert rate.wait("b", 1) == 0


def test_without_a_rate_nobody_waits_but_who_has_one() -> None:
    rate = Rate(None, 1)

    assert {rate.wait("a", 0) for _ in range(100)} == {0}
    assert [rate.wait("own", 0, 1), rate.wait("own", 0, 1)] == [0, 1]


def test_the_callers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.access.rate.BUCKETS", 2)
    rate = Rate(1, 1)

    for name in ("a", "b", "a", "c"):
        rate.wait(name, 0)

    assert rate.wait("a", 0) == 1
    assert rate.wait("b", 0) == 0


def test_a_caller_over_its_rate_is_told_when_to_come_again() -> None:
    async def run() -> list[httpx.Response]:
        async with client(rate=0.5, rate_burst_seconds=2) as ask:
            return [await ask.get("/v1/model") for _ in range(2)] + [
                await ask.get("/v1/model", headers={"x-caller": "another"}),
                await ask.get("/healthz"),
            ]

    first, second, another, probe = asyncio.run(run())

    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json() == {"detail": "more requests than this caller may make"}
    assert second.headers["retry-after"] == "2"
    assert (another.status_code, probe.status_code) == (200, 200)


def test_a_key_may_have_a_rate_of_its_own() -> None:
    async def run() -> list[int]:
        async with client(rate_burst_seconds=1) as ask:
            return [(await ask.get("/v1/model", headers={"x-caller": "own"})).status_code for _ in range(5)]

    assert asyncio.run(run()).count(200) == 3


def test_a_body_up_to_the_limit_is_read_whole() -> None:
    async def run() -> list[str]:
        async with client(body_bytes=1000) as ask:
            return [(await ask.post("/v1/predict", content=b"x" * size)).text for size in (0, 1, 999, 1000)]

    assert asyncio.run(run()) == ["0", "1", "999", "1000"]


async def _in_chunks(count: int, taken: list[int], size: int = 100) -> AsyncIterator[bytes]:
    for _ in range(count):
        taken.append(size)
        yield b"x" * size


def test_a_body_in_chunks_is_put_together() -> None:
    async def run() -> str:
        async with client(body_bytes=1000) as ask:
            return (await ask.post("/v1/predict", content=_in_chunks(10, []))).text

    assert asyncio.run(run()) == "1000"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(chunked: bool) -> None:
    async def run() -> httpx.Response:
        async with client(body_bytes=1000) as ask:
            return await ask.post("/v1/predict", content=_in_chunks(12, []) if chunked else b"x" * 1001)

    answer = asyncio.run(run())

    assert (answer.status_code, answer.json()) == (413, {"detail": "the body is larger than 1000 bytes"})
    assert answer.headers["connection"] == "close"


def test_who_has_sent_all_of_a_large_body_does_not_wait_for_its_refusal() -> None:
    async def run() -> int:
        async with client(body_bytes=1000) as ask:
            answer = await asyncio.wait_for(ask.post("/v1/predict", content=b"x" * 1001), limits.LINGER_SECONDS / 2)
            return answer.status_code

    assert asyncio.run(run()) == 413


def test_slow_bodies_together_may_hold_so_much_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODIES_BYTES", 250)

    async def run() -> list[int]:
        gate = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 200
            await gate.wait()
            yield b"x"

        async with client(body_bytes=1000) as ask:
            first = asyncio.create_task(ask.post("/v1/predict", content=slow()))
            await asyncio.sleep(0.05)
            second = await ask.post("/v1/predict", content=_in_chunks(3, []))
            gate.set()
            await first
            third = await ask.post("/v1/predict", content=_in_chunks(2, []))
            return [(await first).status_code, second.status_code, third.status_code]

    assert asyncio.run(run()) == [200, 503, 200]


def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    async def run() -> httpx.Response:
        async def slow() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.sleep(30)
            yield b"x"

        async with client(body_seconds=0.1) as ask:
            return await ask.post("/v1/predict", content=slow())

    answer = asyncio.run(run())

    assert (answer.status_code, answer.json()) == (408, {"detail": "the body did not come within 0.1 s"})


def test_an_answer_that_takes_too_long_is_given_up_and_its_work_cancelled() -> None:
    cancelled = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(scope["path"])
            raise

    async def run() -> list[httpx.Response]:
        async with client(slow, request_seconds=0.3) as ask:
            return list(await asyncio.gather(ask.get("/v1/model"), ask.post("/v1/predict", content=b"x")))

    answers = asyncio.run(run())

    assert [answer.status_code for answer in answers] == [504, 504]
    assert answers[0].json() == {"detail": "no answer within 0.3 s"}
    assert sorted(cancelled) == ["/v1/model", "/v1/predict"]


def test_who_leaves_is_not_answered_for_the_timeout() -> None:
    """A cancellation that is not the timeout's goes on as one."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(30)

    async def run() -> None:
        async with client(slow) as ask:
            request = asyncio.create_task(ask.get("/v1/model"))
            await asyncio.sleep(0.05)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request

    asyncio.run(run())


def test_overload_is_refused_at_once_and_over_when_work_is_done() -> None:
    async def run() -> tuple[list[int], httpx.Response, int]:
        gate = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await gate.wait()
            await echo(scope, receive, send)

        async with client(slow, in_flight=3) as ask:
            working = [asyncio.create_task(ask.get("/v1/model")) for _ in range(3)]
            await asyncio.sleep(0.05)
            refused = await asyncio.wait_for(ask.get("/v1/model"), 1)
            gate.set()
            answered = [(await one).status_code for one in working]
            return answered, refused, (await ask.get("/v1/model")).status_code

    answered, refused, after = asyncio.run(run())

    assert (answered, after) == ([200] * 3, 200)
    assert (refused.status_code, refused.json()) == (503, {"detail": "too many requests at once; try again"})
    assert refused.headers["retry-after"] == "1"


def test_work_that_fails_leaves_its_place() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def run() -> list[int]:
        async with client(broken, in_flight=1) as ask:
            return [(await ask.get("/v1/model")).status_code for _ in range(3)]

    assert asyncio.run(run()) == [500] * 3


def test_a_client_that_leaves_in_its_body_is_no_work() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])

    messages: list[Message] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there to be answered")

    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": []}
    asyncio.run(Known(RequestLimits(app, ServingSettings(releases="nowhere"), Telemetry()))(scope, receive, send))

    assert asked == []
