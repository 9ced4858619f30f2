from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.ingestion.shift import Shift


def test_a_shift_runs_out_by_its_own_clock() -> None:
    now = [100.0]
    shift = Shift(ends=110.0, clock=lambda: now[0])
    assert (shift.remaining, shift.over) == (10.0, False)
    now[0] = 109.5
    assert shift.remaining == 0.5
    now[0] = 200.0
    assert (shift.remaining, shift.over) == (0.0, True)


def test_waiting_never_goes_beyond_the_shifts_end() -> None:
    waited: list[float] = []
    shift = Shift(ends=3.0, clock=lambda: 1.0, pause=waited.append)
    shift.wait(60.0)
    shift.wait(0.5)
    assert waited == [2.0, 0.5]


def test_a_wall_clock_that_jumps_does_not_change_a_shifts_length() -> None:
    # Given a shift whose deadline was ten seconds away, by a wall clock that was a day behind
    yesterday = datetime.now(UTC) - timedelta(days=1)
    shift = Shift.until(yesterday + timedelta(seconds=10), now=yesterday)
    # Then it is ten seconds long, although by the clock as it is now it was over long ago
    assert shift.remaining == pytest.approx(10, abs=1)
