"""Draws the day as a use case's timetable plans it: `make timetable` writes docs/pictures/timetable.svg.

The same timetable is the same bytes; the picture names the plan it was drawn from, so that a test sees a stale one.
"""

from __future__ import annotations

import argparse
import hashlib
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from include.errors import SettingsError
from include.ingestion.day_plan import Activity, Overlap, Window, day_plan, overlaps
from include.ingestion.timetable import load_timetable
from include.use_case import UseCaseSpec, load_use_case

PICTURE = Path(__file__).with_suffix(".svg")
USE_CASE = "include.use_cases.flight_delay"
DAY = date(2026, 6, 1)
"""A day on which no clock changes; every other such day looks the same."""

COLOURS = {Activity.SHIFT: "#3b6ea5", Activity.SCORING: "#5b9a68", Activity.TRAINING: "#c07f2c"}
CLASH = "#b3362b"
INK = "#333333"
HEIGHT = 0.56
STYLE = {
    "svg.hashsalt": "timetable",  # else ids are random
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "hatch.color": CLASH,
}


def main() -> None:
    """Draw the picture and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--use-case", default=USE_CASE)
    parser.add_argument("--to", type=Path, default=PICTURE)
    asked = parser.parse_args()
    spec = load_use_case(asked.use_case).spec
    windows = planned(spec)
    draw(spec, windows, asked.to)
    print(f"{asked.to}: {len(windows)} windows, {len(overlaps(windows))} overlaps")


def planned(spec: UseCaseSpec) -> list[Window]:
    """The use case's plan of an ordinary day; `SettingsError` where it has no timetable."""
    timetable = load_timetable(spec.package)
    if timetable is None:
        raise SettingsError(f"{spec.name} has no timetable.yaml; there is no day to draw")
    return day_plan(spec, timetable, DAY)


def digest(windows: list[Window]) -> str:
    """What a picture says it was drawn from."""
    text = "".join(f"{w.name} {w.work} {w.start.isoformat()} {w.end.isoformat()}\n" for w in windows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def draw(spec: UseCaseSpec, windows: list[Window], path: Path) -> None:
    """Write the picture: a row for each name, a bar for each window, a hatched band where two are at once."""
    names = list(dict.fromkeys(w.name for w in sorted(windows, key=lambda w: (list(Activity).index(w.work), w.name))))
    hours = Hours(spec)
    last = hours.of(max(window.end for window in windows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 0.62 * len(names) + 1.7), layout="constrained")
        axes = figure.add_subplot()
        for pair in overlaps(windows):
            _clash(axes, hours, pair, names)
        for window in windows:
            _bar(axes, hours, window, names.index(window.name))
        _frame(axes, names, int(last) + 1)
        axes.set_title(f"A day of {spec.name} ({spec.timezone})", loc="left", pad=12, fontweight="bold")
        figure.supxlabel(_legend(windows), fontsize=9, x=0.01, ha="left")
        metadata: dict[str, Any] = {"Date": None, "Creator": None, "Description": f"plan {digest(windows)}"}
        figure.savefig(path, metadata=metadata)


class Hours:
    """Moments as hours since the day's midnight on the use case's clocks."""

    def __init__(self, spec: UseCaseSpec) -> None:
        self.zone = spec.zone
        self.midnight = datetime.combine(DAY, time(), tzinfo=spec.zone)

    def of(self, moment: datetime) -> float:
        """The hours."""
        return (moment - self.midnight) / timedelta(hours=1)

    def clock(self, moment: datetime) -> str:
        """The moment as a clock shows it."""
        return f"{moment.astimezone(self.zone):%H:%M}"


def _bar(axes: Axes, hours: Hours, window: Window, row: int) -> None:
    start, end = hours.of(window.start), hours.of(window.end)
    axes.barh(row, end - start, left=start, height=HEIGHT, color=COLOURS[window.work], zorder=3)
    # Away from the hatching, which is between the rows.
    y, side = (row - HEIGHT / 2 - 0.05, "bottom") if window.work is Activity.SHIFT else (row + HEIGHT / 2 + 0.05, "top")
    axes.text(start, y, hours.clock(window.start), fontsize=8, ha="left", va=side, zorder=5)


def _clash(axes: Axes, hours: Hours, pair: Overlap, names: list[str]) -> None:
    rows = sorted((names.index(pair.first.name), names.index(pair.second.name)))
    axes.fill_between(
        [hours.of(pair.start), hours.of(pair.end)],
        rows[0] - HEIGHT / 2,
        rows[1] + HEIGHT / 2,
        facecolor=f"{CLASH}30",
        edgecolor=CLASH,
        hatch="////",
        linewidth=0.8,
        zorder=4,
    )


def _frame(axes: Axes, names: list[str], until: int) -> None:
    axes.set_ylim(len(names) - 0.35, -0.6)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlim(0, until)
    axes.set_xticks(range(until + 1), [f"{hour:02d}:00" for hour in range(until + 1)])
    axes.tick_params(length=0, colors=INK)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _legend(windows: list[Window]) -> str:
    pairs = overlaps(windows)
    shifts = sum(pair.first.work is Activity.SHIFT and pair.second.work is Activity.SHIFT for pair in pairs)
    training = sum(Activity.TRAINING in (pair.first.work, pair.second.work) for pair in pairs)
    return (
        f"Hatched: two at once. The workers meet {shifts} times, scoring meets a worker "
        f"{len(pairs) - shifts - training} times, nightly training meets {training or 'nothing'}.\n"
        "Scoring and nightly training are drawn at the longest they are given. After these hours nothing is planned."
    )


if __name__ == "__main__":
    main()
