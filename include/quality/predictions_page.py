"""The page of Data Docs on a night's predictions: how many, by which version, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from include.links import FRONT_PAGE
from include.quality.data_docs import Link, page


@dataclass(frozen=True)
class Predicted:
    """A horizon's predictions of a day. `answers` counts the rows of each answer, or of each range of answers."""

    horizon: str
    day: date
    rows: int
    version: str
    answers: Sequence[tuple[str, int]]


def predictions_page(
    title: str, day: date, predicted: Sequence[Predicted] = (), *, answer: str = "", without: Sequence[str] = ()
) -> str:
    """What was predicted in the night of a data day; `answer` names the column, `without` the horizons without rows."""
    rows = "".join(_row(one) for one in predicted)
    table = f"<table><tr><th>Horizon<th>Day<th>Rows<th>Version</tr>{rows}</table>" if predicted else ""
    none = "".join(
        f"<p class=soft>{escape(name)}: no approved version has seen only earlier days; nothing is predicted.</p>"
        for name in without
    )
    empty = "" if predicted or without else "<p class=soft>None yet: score has not run for this day.</p>"
    spread = "".join(_spread(one, answer) for one in predicted)
    back = Link(FRONT_PAGE, "Data of the same night")
    return page(f"Predictions of the night of {day}", title, back, f"{table}{none}{empty}{spread}")


def _row(one: Predicted) -> str:
    return f"<tr><td>{escape(one.horizon)}<td>{one.day}<td>{one.rows}<td>{escape(one.version)}</tr>"


def _spread(one: Predicted, answer: str) -> str:
    bars = "".join(_bar(name, rows, rows / max(one.rows, 1)) for name, rows in one.answers)
    return (
        f"<h2>{escape(one.horizon)}, {one.day}</h2>"
        f"<table><tr><th>{escape(answer)}<th>Rows<th>Share<th class=wide></tr>{bars}</table>"
    )


def _bar(name: str, rows: int, share: float) -> str:
    bar = f'<div class=bar style="width: {share:.2%}"></div>'
    return f"<tr><td>{escape(name)}<td>{rows}<td>{share:.1%}<td>{bar}</tr>"
