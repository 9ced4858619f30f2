"""United States holidays that people fly for, computed for any year."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

MONDAY, THURSDAY = 0, 3
FARTHEST = 30
"""Days; a holiday farther away than this does not count."""


@cache
def holidays(year: int) -> tuple[date, ...]:
    """The year's holidays, in order."""
    memorial_day = date(year, 5, 31)
    while memorial_day.weekday() != MONDAY:
        memorial_day -= timedelta(days=1)
    return (
        date(year, 1, 1),
        _nth(year, 1, MONDAY, 3),
        _nth(year, 2, MONDAY, 3),
        memorial_day,
        date(year, 7, 4),
        _nth(year, 9, MONDAY, 1),
        _nth(year, 10, MONDAY, 2),
        _nth(year, 11, THURSDAY, 4),
        date(year, 12, 25),
    )


def days_to_holiday(day: date) -> int:
    """Days to the nearest holiday, negative if it is past, cut at 30 either way; a tie goes to the coming one."""
    near = [holiday - day for year in (day.year - 1, day.year, day.year + 1) for holiday in holidays(year)]
    days = min((gap.days for gap in near), key=lambda gap: (abs(gap), -gap))
    return max(-FARTHEST, min(FARTHEST, days))


def _nth(year: int, month: int, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
