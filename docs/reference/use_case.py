"""Writes the reference for authors of use cases from docstrings: `make reference` writes docs/reference/use_case.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from formats.rollout_plan import Limits, Plan
from include import use_case
from include.ingestion.collector import TimedRecord
from include.ingestion.rules import After, Composed, RecordRule
from include.ingestion.shift_plan import ShiftPlan
from include.ingestion.streams import Stream
from include.ingestion.tables_source import TablesSource
from include.ingestion.timetable import NightlyTraining, PlannedWorker, Scoring, Timetable
from include.modelling.estimators.estimator import Estimating, LearningProblem
from include.modelling.recipe import Estimator, Gates, MulticlassGates, Recipe, RegressionGates
from include.predictions.lookup import Lookup
from include.quality.contract import Column, Contract, Freshness, Kind, Reference
from include.sources.source import Configured, DatedRows, Extensible, Source
from include.sources.tabular import Files, TabularSource
from include.use_case import Horizon, Task, Topic, UseCaseSpec

PAGE = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Part:
    """One file of a use case's package, and the classes that it is written with."""

    file: str
    says: str
    classes: tuple[type, ...]


PARTS = (
    Part("spec.py", "`SPEC`, which DAG files read.", (UseCaseSpec, Topic, Horizon, Task)),
    Part(
        "sources.py",
        "`source(settings)` returns a `Source`.",
        (TabularSource, Files, TablesSource, Source, DatedRows, Configured, Extensible),
    ),
    Part(
        "contracts.py, feature_contract.py",
        "`RAW` maps a topic's name to its contract; `FEATURES` is the contract of a feature row.",
        (Contract, Column, Kind, Reference, Freshness),
    ),
    Part("candidates.py", "`CANDIDATES` is a tuple of recipes.", (Recipe, Estimator, Estimating, LearningProblem)),
    Part(
        "gates.py",
        "`GATES`, and `ROLLOUT`, which may be left out.",
        (Gates, MulticlassGates, RegressionGates, Plan, Limits),
    ),
    Part("lookup.py", "`LOOKUP`. The file may be left out.", (Lookup,)),
    Part(
        "streams.py",
        "`STREAMS` by name, and `events(source, topic, day)`, which yields events. The file may be left out.",
        (Stream, RecordRule, Composed, After, TimedRecord),
    ),
    Part(
        "timetable.yaml",
        "One `Timetable`. The file may be left out.",
        (Timetable, PlannedWorker, ShiftPlan, Scoring, NightlyTraining),
    ),
)

METHODS = (UseCaseSpec, Source, DatedRows, RecordRule, Estimating)
"""Classes whose methods an author calls, or writes."""


def main() -> None:
    """Write the page and say where it is."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {sum(len(part.classes) for part in PARTS)} classes")


def page() -> str:
    """The whole page, in Markdown."""
    blocks = [
        "# Reference for authors of use cases",
        "Reference. Made from the code's docstrings by `make reference`; do not edit. The how-to is "
        "[Your own use case](../adapting.md).",
        "## The package",
        inspect.cleandoc(use_case.__doc__ or "").partition("\n")[2].strip(),
    ]
    for part in PARTS:
        blocks += [f"## {part.file}", part.says]
        for described in part.classes:
            blocks += described_class(described)
    return "\n\n".join(blocks) + "\n"


def described_class(described: type) -> Iterator[str]:
    """A class as headings, prose and tables."""
    yield f"### {described.__name__}"
    yield f"`from {described.__module__} import {described.__name__}`"
    yield inspect.cleandoc(described.__doc__ or "")
    if issubclass(described, Enum):
        yield "Members: " + ", ".join(f"`{member.name}`" for member in described) + "."
    elif rows := list(_fields(described)):
        yield "\n".join(["| field | type | default |", "| --- | --- | --- |", *rows])
    if described in METHODS and (rows := list(_methods(described))):
        yield "\n".join(["| method | does |", "| --- | --- |", *rows])


def _fields(described: type) -> Iterator[str]:
    if Protocol in described.__bases__:
        for name, kind in described.__annotations__.items():
            yield f"| `{name}` | {_cell(kind)} | |"
        return
    written: Mapping[str, Any] = inspect.get_annotations(described)
    for name, parameter in inspect.signature(described).parameters.items():
        kind = written.get(name, parameter.annotation)
        yield f"| `{name}` | {_cell(kind)} | {_default(parameter.default)} |".replace("|  |", "| |")


def _cell(kind: Any) -> str:
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    return f"`{text}`".replace("|", "\\|")


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    text = repr(value)
    if isinstance(value, Enum):
        text = f"{type(value).__name__}.{value.name}"
    elif text == "<factory>":
        text = "{}"
    elif hasattr(type(value), "model_fields"):
        text = f"{type(value).__name__}()"
    return f"`{text}`"


def _methods(described: type) -> Iterator[str]:
    for name, method in vars(described).items():
        function = method.fget if isinstance(method, property) else method
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        called = name
        if not isinstance(method, property):
            taken = [p for p in inspect.signature(function).parameters if p != "self"]
            called += f"({', '.join(taken)})"
        yield f"| `{called}` | {' '.join(inspect.cleandoc(function.__doc__ or '').split())} |"


if __name__ == "__main__":
    main()
