"""Draws the whole system, from a source to an answer: `make system` writes docs/pictures/system.svg.

The picture is plain SVG, so that a change of a word is a change of a line.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from itertools import pairwise
from pathlib import Path

from include.step_specs import NIGHTLY

PICTURE = Path(__file__).with_suffix(".svg")
WIDTH, HEIGHT = 1280, 640
INK, PALE = "#333333", "#777777"
LINE, SMALL = 16, 13


class Kind(StrEnum):
    """What a box stands for; its value is its colour."""

    STEP = "#c07f2c"
    DATA = "#5b9a68"
    SERVER = "#3b6ea5"
    OUTSIDE = "#888888"


@dataclass(frozen=True)
class Box:
    """A rectangle with a name and, below it, a few words; lengths are pixels."""

    x: int
    y: int
    width: int
    height: int
    kind: Kind
    name: str
    words: tuple[str, ...] = ()
    heading: int = 0
    """How far below its upper edge the name of a box that holds others stands; 0 where it holds none."""

    @property
    def middle(self) -> int:
        """Where an arrow meets the box from above or below."""
        return self.x + self.width // 2

    @property
    def bottom(self) -> int:
        """The lower edge."""
        return self.y + self.height

    def drawn(self) -> str:
        """The box as SVG."""
        fill = "18" if self.heading else "40"
        shape = (
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="6" '
            f'fill="{self.kind}{fill}" stroke="{self.kind}"/>'
        )
        if self.heading:
            heading = " · ".join((self.name, *self.words))
            return shape + "\n" + text(self.x + 12, self.y + self.heading, heading, bold=True, start=True)
        first = self.y + (self.height - LINE * len(self.words)) // 2 + 5
        named = text(self.middle, first, self.name, bold=True)
        below = [text(self.middle, first + LINE * n, words) for n, words in enumerate(self.words, 1)]
        return "\n".join([shape, named, *below])


@dataclass(frozen=True)
class Arrow:
    """A line through points, with a head at its end; dashed where something is read, with a word beside it or none."""

    points: tuple[tuple[int, int], ...]
    reads: bool = False
    word: str = ""
    word_at: tuple[int, int] = (0, 0)

    def drawn(self) -> str:
        """The arrow as SVG."""
        path = " ".join(f"{x},{y}" for x, y in self.points)
        dashes = ' stroke-dasharray="4 3"' if self.reads else ""
        line = f'<polyline points="{path}" fill="none" stroke="{INK}"{dashes} marker-end="url(#head)"/>'
        return line + ("\n" + text(*self.word_at, self.word, start=True, colour=PALE) if self.word else "")


def text(x: int, y: int, words: str, *, bold: bool = False, start: bool = False, colour: str = INK) -> str:
    """Words at a place: their middle, or their start."""
    anchor = "start" if start else "middle"
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(words)}</text>'


NIGHT = [step.name for step in NIGHTLY]
STEP_Y, DATA_Y, COLUMN, STRIDE = 152, 272, 303, 954 // len(NIGHTLY)


def _step(column: int, name: str) -> Box:
    return Box(COLUMN + STRIDE * column, STEP_Y, STRIDE - 12, 40, Kind.STEP, name)


def _data(column: int, name: str, words: str, row: int = 0) -> Box:
    return Box(COLUMN + STRIDE * column, DATA_Y + 52 * row, STRIDE - 12, 44, Kind.DATA, name, (words,))


STEPS = tuple(_step(column, name) for column, name in enumerate(NIGHT))
DATA = (
    _data(0, "raw", "checked rows"),
    _data(1, "features", "two horizons"),
    _data(2, "quality", "reports"),
    _data(3, "candidates", "fits, figures"),
    _data(4, "decisions", "who wins"),
    _data(5, "models", "ONNX files"),
    _data(6, "predictions", "and lookups"),
    _data(7, "_serving", "releases"),
)
MORE_DATA = (
    _data(0, "quarantine", "bad rows", 1),
    _data(2, "data_docs", "pages", 1),
    _data(4, "samples", "of requests", 1),
)
AIRFLOW = Box(290, 112, 970, 92, Kind.STEP, "Airflow", ("each step is a pod, or a process",), 24)
LAKE = Box(290, 260, 862, 138, Kind.DATA, "Lake", ("a folder or a bucket; partitions with manifests",), 128)
YOU = Box(303, 24, 200, 50, Kind.OUTSIDE, "you", ("make · Airflow's UI",))
MLFLOW = Box(COLUMN + 3 * STRIDE, 24, 306, 50, Kind.SERVER, "MLflow", ("experiments, versions, champion",))
SOURCE = Box(20, STEP_Y - 6, 160, 52, Kind.OUTSIDE, "source", ("files, a bucket, a URL",))
COLLECT = Box(20, 262, 160, 46, Kind.STEP, "collect", ("collectors",))
BROKER = Box(20, 362, 160, 52, Kind.SERVER, "broker", ("landing folder or Kafka",))
WORK = Box(20, 468, 160, 52, Kind.STEP, "work", ("two workers, in shifts",))
POSTGRES = Box(
    230,
    450,
    300,
    88,
    Kind.SERVER,
    "PostgreSQL",
    ("flights, weather_observations", "offsets, dead letters", "databases of Airflow and MLflow"),
)
SERVING = Box(640, 450, 620, 88, Kind.SERVER, "Serving", ("any number of replicas",), 22)
ANSWERS = tuple(
    Box(652 + 202 * n, 482, 192, 46, Kind.SERVER, name, (words,))
    for n, (name, words) in enumerate(
        (
            ("forecast, lookups", "polled from the lake"),
            ("predict", "model by URI and SHA-256"),
            ("follow", "releases, as replicas"),
        )
    )
)
CALLERS = Box(660, 584, 190, 44, Kind.OUTSIDE, "apps", ("ask for predictions",))
PROMETHEUS = Box(1050, 584, 190, 44, Kind.OUTSIDE, "Prometheus, Grafana", ("metrics, alerts",))


def boxes() -> tuple[Box, ...]:
    """All boxes, those that hold others first."""
    around = (AIRFLOW, LAKE, SERVING)
    left = (SOURCE, COLLECT, BROKER, WORK, POSTGRES)
    return (*around, *STEPS, *DATA, *MORE_DATA, *ANSWERS, *left, YOU, MLFLOW, CALLERS, PROMETHEUS)


def arrows() -> tuple[Arrow, ...]:
    """All arrows."""
    night = [Arrow(((a.x + a.width, a.y + 20), (b.x, b.y + 20))) for a, b in pairwise(STEPS)]
    writes = [Arrow(((s.middle - 12, s.bottom), (d.middle - 12, d.y))) for s, d in zip(STEPS, DATA, strict=False)]
    reads = [
        Arrow(((DATA[n].middle + 24, DATA[n].y), (STEPS[n + 1].middle - 28, STEPS[n + 1].bottom)), reads=True)
        for n in (0, 1, 3, 4, 5)
    ]
    named = {step.name: step for step in STEPS}
    train, register, smoke_test = (named[name] for name in ("train", "register", "smoke_test"))
    models, predictions, releases = DATA[5], DATA[6], DATA[7]
    return (
        *night,
        *writes,
        *reads,
        Arrow(((YOU.middle - 80, YOU.bottom), (YOU.middle - 80, AIRFLOW.y))),
        Arrow(((train.middle, train.y), (train.middle, MLFLOW.bottom))),
        Arrow(((register.middle, register.y), (register.middle, MLFLOW.bottom))),
        Arrow(((180, STEP_Y + 20), (COLUMN, STEP_Y + 20)), reads=True, word="files", word_at=(188, STEP_Y + 13)),
        Arrow(((SOURCE.middle, SOURCE.bottom), (COLLECT.middle, COLLECT.y))),
        Arrow(((COLLECT.middle, COLLECT.bottom), (BROKER.middle, BROKER.y)), word="messages", word_at=(108, 340)),
        Arrow(((BROKER.middle, BROKER.bottom), (WORK.middle, WORK.y))),
        Arrow(((180, 494), (POSTGRES.x, 494))),
        Arrow(((258, POSTGRES.y), (258, 184), (COLUMN, 184)), reads=True, word="or tables", word_at=(190, 340)),
        Arrow(
            ((releases.middle, releases.bottom), (releases.middle, SERVING.y)),
            reads=True,
            word="follow",
            word_at=(releases.middle + 6, 425),
        ),
        Arrow(
            ((smoke_test.middle, smoke_test.bottom), (smoke_test.middle, SERVING.y)),
            word="asks",
            word_at=(smoke_test.middle + 6, 425),
        ),
        Arrow(((models.middle, models.bottom), (models.middle, SERVING.y)), reads=True),
        Arrow(((predictions.middle, predictions.bottom), (predictions.middle, SERVING.y)), reads=True),
        Arrow(((MORE_DATA[2].middle, SERVING.y), (MORE_DATA[2].middle, MORE_DATA[2].bottom))),
        Arrow(((CALLERS.middle, CALLERS.y), (CALLERS.middle, SERVING.bottom))),
        Arrow(((PROMETHEUS.middle, SERVING.bottom), (PROMETHEUS.middle, PROMETHEUS.y)), reads=True),
    )


def picture() -> str:
    """The whole picture as SVG."""
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker>'
    )
    notes = [
        text(20, 592, "Solid: writes or asks. Dashed: reads.", start=True, colour=PALE),
        text(20, 592 + 18, "Other runs: work in shifts, then score_intraday; rollback.", start=True, colour=PALE),
    ]
    parts = [*(box.drawn() for box in boxes()), *(arrow.drawn() for arrow in arrows()), *notes]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="{SMALL}" '
            'font-family="DejaVu Sans, Verdana, sans-serif">',
            "<title>From a source to an answer</title>",
            f"<defs>{head}</defs>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Draw the picture and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=PICTURE)
    path = parser.parse_args().to
    path.write_text(picture(), encoding="utf-8")
    print(f"{path}: {len(boxes())} boxes, {len(arrows())} arrows")


if __name__ == "__main__":
    main()
