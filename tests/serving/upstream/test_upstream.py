"""One upstream, asked over a real connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import httpx
import pytest

from include.use_cases.flight_delay.serving.places import Location
from include.use_cases.flight_delay.serving.prediction import Prediction
from serving.errors import NotFoundError, UpstreamError
from serving.telemetry.metrics import Telemetry
from serving.upstream.circuit import THRESHOLD
from serving.upstream.upstream import ENOUGH, HEDGES_SAVED, Upstream
from tests.upstreams import Mode, UpstreamProcess
from tests.waiting import PATIENCE

FLIGHT = "2013-10-01-B6-2-JFK"

R = TypeVar("R")


@pytest.fixture(scope="module")
def process() -> Iterator[UpstreamProcess]:
    upstreams = UpstreamProcess()
    yield upstreams
    upstreams.stop()


@pytest.fixture
def upstreams(process: UpstreamProcess) -> UpstreamProcess:
    process.behave_all()
    return process


def run(url: str, what: Callable[[Upstream[Location]], Awaitable[R]], seconds: float = 20.0) -> R:
    """Do something with the upstream `location` at an address."""

    async def inside() -> R:
        async with httpx.AsyncClient(timeout=None) as client:
            return await what(Upstream("location", client, url, Location, Telemetry(), seconds=seconds))

    return asyncio.run(inside())


def test_an_answer_has_its_type(upstreams: UpstreamProcess) -> None:
    found = run(f"{upstreams.url}/location", lambda upstream: upstream.ask(flight_id=FLIGHT))

    assert found == Location("JFK", "JFK Intl", 40.6, -73.8, "UTC")


def test_a_slow_call_is_asked_a_second_time(upstreams: UpstreamProcess) -> None:
    # Given an upstream that has answered often enough to know what slow is
    async def hanging_once(upstream: Upstream[Location]) -> tuple[Location, float]:
        for _ in range(ENOUGH):
            await upstream.ask(flight_id=FLIGHT)
        await asyncio.to_thread(upstreams.behave, "location", mode=Mode.HANG_ONCE)
        clock = time.monotonic()
        return await upstream.ask(flight_id=FLIGHT), time.monotonic() - clock

    before = upstreams.counts()

    # When one call hangs for ever
    found, seconds = run(f"{upstreams.url}/location", hanging_once, seconds=10 * PATIENCE)

    # Then the second one has the answer long before the time is up
    assert found.code == "JFK"
    assert seconds < PATIENCE
    assert (upstreams.counts() - before)["location"] == ENOUGH + 2


def test_a_call_that_fails_is_tried_once_more(upstreams: UpstreamProcess) -> None:
    upstreams.behave("location", mode=Mode.FAIL)
    before = upstreams.counts()

    with pytest.raises(UpstreamError, match=r"^upstream location answered 500$"):
        run(f"{upstreams.url}/location", lambda upstream: upstream.ask(flight_id=FLIGHT))

    assert (upstreams.counts() - before)["location"] == 2


def test_that_there_is_none_is_no_failure(upstreams: UpstreamProcess) -> None:
    async def many(upstream: Upstream[Location]) -> bool:
        for _ in range(10):
            with pytest.raises(NotFoundError):
                await upstream.ask(flight_id=FLIGHT)
        return upstream.circuit.open

    upstreams.behave("location", mode=Mode.MISSING)
    before = upstreams.counts()

    assert run(f"{upstreams.url}/location", many) is False
    assert (upstreams.counts() - before)["location"] == 10


def test_a_call_that_hangs_ends_in_time(upstreams: UpstreamProcess) -> None:
    upstreams.behave("location", mode=Mode.HANG)

    with pytest.raises(UpstreamError, match=r"^upstream location gave no answer in 0\.3 s$"):
        run(f"{upstreams.url}/location", lambda upstream: upstream.ask(flight_id=FLIGHT), seconds=0.3)


def test_calls_that_hang_open_the_circuit_too(upstreams: UpstreamProcess) -> None:
    async def many(upstream: Upstream[Location]) -> bool:
        for _ in range(THRESHOLD):
            with pytest.raises(UpstreamError, match="gave no answer"):
                await upstream.ask(flight_id=FLIGHT)
        with pytest.raises(UpstreamError, match=r"^upstream location is down$"):
            await upstream.ask(flight_id=FLIGHT)
        return upstream.circuit.open

    upstreams.behave("location", mode=Mode.HANG)

    assert run(f"{upstreams.url}/location", many, seconds=0.05)


def test_second_calls_are_few_when_all_calls_are_slow(upstreams: UpstreamProcess) -> None:
    async def slow(upstream: Upstream[Location]) -> None:
        for _ in range(ENOUGH):
            await upstream.ask(flight_id=FLIGHT)
        await asyncio.to_thread(upstreams.behave, "location", delay=0.5)
        await asyncio.gather(*(upstream.ask(flight_id=FLIGHT) for _ in range(60)))

    before = upstreams.counts()

    run(f"{upstreams.url}/location", slow)

    assert ENOUGH + 60 < (upstreams.counts() - before)["location"] <= ENOUGH + 60 + HEDGES_SAVED + 1 + 0.1 * 60


def test_nobody_there_is_said_in_one_line() -> None:
    with pytest.raises(UpstreamError, match=r"^upstream location cannot be reached \(ConnectError\)$"):
        run("http://127.0.0.1:1/location", lambda upstream: upstream.ask(flight_id=FLIGHT))


def test_an_answer_of_another_type_is_refused(upstreams: UpstreamProcess) -> None:
    async def prediction() -> Prediction:
        async with httpx.AsyncClient() as client:
            url = f"{upstreams.url}/location"
            return await Upstream("prediction", client, url, Prediction, Telemetry(), seconds=20).ask(flight_id=FLIGHT)

    with pytest.raises(UpstreamError, match=r"^upstream prediction gave an answer that is none: .*missing required"):
        asyncio.run(prediction())
