"""An upstream of the chain, asked over HTTP: hedged when it is slow, left alone when it is down."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Generic, TypeVar

import httpx
import msgspec

from serving.errors import NotFoundError, UpstreamError
from serving.telemetry import tracing
from serving.telemetry.metrics import Telemetry, UpstreamOutcome
from serving.upstream.circuit import CircuitBreaker
from serving.upstream.pace import Pace

T = TypeVar("T")

ANSWER_BYTES = 64 * 2**10
REMEMBERED = 64
ENOUGH = 8
"""After this many answers they define slow; before that, a third of the time allowed does."""
SLOW = 0.95
HEDGES_PER_CALL = 0.1
HEDGES_SAVED = 10.0
"""At most one call in ten is asked twice, so that an upstream in trouble does not get twice the load."""


class Upstream(Generic[T]):
    """A URL that answers with JSON of one type. A call takes `seconds` at most."""

    def __init__(
        self,
        name: str,
        client: httpx.AsyncClient,
        url: str,
        answer: type[T],
        telemetry: Telemetry,
        *,
        seconds: float,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.circuit = CircuitBreaker(clock)
        self._client = client
        self._url = url
        self._decoder = msgspec.json.Decoder(answer)
        self._telemetry = telemetry
        self._seconds = seconds
        self._pace = pace or Pace()
        self._clock = clock
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._hedges = HEDGES_SAVED

    @property
    def patience(self) -> float:
        """Seconds after which a call is slow, and is asked a second time."""
        if len(self._took) < ENOUGH:
            return self._seconds / 3
        return sorted(self._took)[math.ceil(SLOW * len(self._took)) - 1]

    async def ask(self, **query: str) -> T:
        """Its answer; `NotFoundError` if it has none, `UpstreamError` if it gives none in time."""
        if not self.circuit.allows():
            error = UpstreamError(f"upstream {self.name} is down")
            error.retry_after = max(1, math.ceil(self.circuit.wait))
            raise error
        self._hedges = min(HEDGES_SAVED, self._hedges + HEDGES_PER_CALL)
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._hedged(query)
        except NotFoundError:
            self._note(failed=False)
            raise
        except UpstreamError:
            self._note(failed=True)
            raise
        except TimeoutError:
            self._note(failed=True)
            self._telemetry.upstream(self.name, UpstreamOutcome.TIMEOUT, self._seconds)
            raise UpstreamError(f"upstream {self.name} gave no answer in {self._seconds:g} s") from None
        self._note(failed=False)
        return answer

    async def _hedged(self, query: Mapping[str, str]) -> T:
        """The first good answer of one call, or of two if the first is slow or fails."""
        calls = {asyncio.create_task(self._call(query))}
        try:
            done, _ = await asyncio.wait(calls, timeout=self.patience)
            if all(_failed(call) for call in done) and self._hedges >= 1:
                self._hedges -= 1
                self._telemetry.hedged(self.name)
                calls.add(asyncio.create_task(self._call(query)))
            waiting = set(calls)
            while True:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for call in done:
                    if not waiting or not _failed(call):
                        return call.result()
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _call(self, query: Mapping[str, str]) -> T:
        await self._pace.turn()
        began = self._clock()
        try:
            answer = await self._answer(query)
        except NotFoundError:
            self._telemetry.upstream(self.name, UpstreamOutcome.OK, self._clock() - began)
            raise
        except UpstreamError:
            self._telemetry.upstream(self.name, UpstreamOutcome.ERROR, self._clock() - began)
            raise
        self._took.append(self._clock() - began)
        self._telemetry.upstream(self.name, UpstreamOutcome.OK, self._took[-1])
        return answer

    async def _answer(self, query: Mapping[str, str]) -> T:
        try:
            with tracing.span("upstream", upstream=self.name):
                asking = self._client.stream("GET", self._url, params=dict(query), headers=tracing.outgoing())
                async with asking as answer:
                    content = await self._content(answer)
            return self._decoder.decode(content)
        except httpx.HTTPError as error:
            raise UpstreamError(f"upstream {self.name} cannot be reached ({type(error).__name__})") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamError(f"upstream {self.name} gave an answer that is none: {error}") from None

    async def _content(self, answer: httpx.Response) -> bytes:
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise NotFoundError(f"upstream {self.name} knows nothing of it")
        if answer.status_code != HTTPStatus.OK:
            raise UpstreamError(f"upstream {self.name} answered {answer.status_code}")
        content = bytearray()
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > ANSWER_BYTES:
                raise UpstreamError(f"upstream {self.name} answered more than {ANSWER_BYTES} bytes")
        return bytes(content)

    def _note(self, *, failed: bool) -> None:
        if failed:
            self.circuit.failed()
        else:
            self.circuit.succeeded()
        self._telemetry.upstream_open(self.name, self.circuit.open)


def _failed(call: asyncio.Task[T]) -> bool:
    return not isinstance(call.exception(), NotFoundError | None)
