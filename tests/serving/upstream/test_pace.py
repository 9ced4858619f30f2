from __future__ import annotations

import asyncio
import time

from serving.upstream.pace import Pace


def test_a_burst_begins_one_after_the_other_and_in_order() -> None:
    async def burst() -> tuple[list[int], float]:
        pace, begun = Pace(0.01), []

        async def call(number: int) -> None:
            await pace.turn()
            begun.append(number)

        clock = time.monotonic()
        await asyncio.gather(*map(call, range(20)))
        return begun, time.monotonic() - clock

    begun, seconds = asyncio.run(burst())

    assert begun == list(range(20))
    assert seconds >= 19 * 0.01 - 0.001


def test_calls_that_come_apart_do_not_wait() -> None:
    async def apart() -> float:
        pace, waited = Pace(0.2), 0.0
        for _ in range(3):
            clock = time.monotonic()
            await pace.turn()
            waited += time.monotonic() - clock
            await asyncio.sleep(0.25)
        return waited

    assert asyncio.run(apart()) < 0.2
