"""A use case as data: it drives DAGs, steps, lake, registry and serving.

A use case is one package. `spec.py` holds its `SPEC` and may import nothing but this module and the standard
library, because DAG files read it. The other modules are imported by the step that needs them:

- `sources.py`: `source(settings) -> Source`
- `contracts.py`: `RAW: Mapping[topic, Contract]`
- `features.py`: `build(spark, raw, wanted) -> pyspark DataFrame`, `wanted` maps a horizon's name to dates
- `feature_contract.py`: `FEATURES: Contract`
- `label.py`: `labels(outcomes, known_by) -> pandas DataFrame` of the key and `label`
- `candidates.py`: `CANDIDATES: tuple[Recipe, ...]`
- `gates.py`: `GATES: Gates`, and `ROLLOUT: Plan`, which may be left out
- `lookup.py`, which may be left out: `LOOKUP: Lookup`, the columns by which serving looks up predictions
- `streams.py` and `timetable.yaml`, which may be left out: its streams and their tables, its workers and their shifts
- `serving/`, which may be left out: its own routes in the server (`serving.use_case_part`)

`make check` checks a package against all of this (`include/check`).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from formats.task import Task
from include.errors import SettingsError
from include.failure import line_of
from include.packages import find_package
from include.spec_rules import require_names, require_sound, require_types

if TYPE_CHECKING:
    from include.quality.contract import Contract
    from include.settings import Settings
    from include.sources.source import Source

__all__ = ["Horizon", "Task", "Topic", "UseCase", "UseCaseSpec", "load_use_case"]


@dataclass(frozen=True)
class Topic:
    """One kind of raw record; the run of day D publishes the partition of D + `day_offset`.

    A record becomes known when the day D that publishes it is over; or, if `known_at` names a column, at the instant in
    that column. `late` names columns that become known later than the rest of their record, at the instant in another
    column (`{"arr_delay": "arrived_at"}`; null: not yet); the record itself is known by the first of them at the
    latest. Features do not use this: `make check` does, to change what a feature cannot know.

    Where a row of the source's table holds plan and outcome, `outcomes` names the columns of the outcome. The topic is
    then without them, so that no feature sees them with the plan, and a second topic `<name>_outcomes` has the whole
    rows of a day that is over. `of` is the table that such a topic is made from.
    """

    name: str
    day_offset: int = 0
    known_at: str | None = None
    late: Mapping[str, str] = field(default_factory=dict, hash=False)
    outcomes: tuple[str, ...] = ()
    of: str | None = None

    def __post_init__(self) -> None:
        require_types(self, "topic: ")
        require_names(self, "topic")

    @property
    def table(self) -> str:
        """What the source calls it."""
        return self.of or self.name

    @property
    def parts(self) -> tuple[Topic, ...]:
        """The topic itself, and the one of its outcomes if its rows hold them."""
        if not self.outcomes:
            return (self,)
        late = {column: instant for column, instant in self.late.items() if column not in self.outcomes}
        return replace(self, late=late), Topic(f"{self.name}_outcomes", late=self.late, of=self.name)


@dataclass(frozen=True)
class Horizon:
    """A moment at which predictions are made; the run of day D scores the examples of D + `day_offset`."""

    name: str
    day_offset: int = 0

    def __post_init__(self) -> None:
        require_types(self, "horizon: ")
        require_names(self, "horizon")


@dataclass(frozen=True)
class UseCaseSpec:
    """A use case as its DAG sees it. An impossible value raises `SettingsError`, which names the field.

    - `name`: in the lake, the registry and the DAG ids. `title` and `owner`: what Airflow shows.
    - `package`: the dotted name of its folder.
    - `timezone`, `day_starts`: the clocks that tell data days apart, and the time at which a data day begins.
    - `cron`: when the run is due, on these clocks.
    - `first_day`, `last_day`: the days for which there are records.
    - `topics`: its kinds of raw record. `examples` names the topic whose rows are predicted, one prediction a row;
      `outcomes` the topic that says how they ended, which may be the same (`Topic.outcomes`).
    - `horizons`: the moments at which predictions are made.
    - `key`: the text column that identifies an example within its day and horizon.
    - `candidates`: the names of the recipes that compete.
    - `history_days`: how many days before D a run trains on. `lookback_days`: how many more the oldest feature row
      looks back. `holdout_days`: how many of the newest days judge the candidates.
    - `task`: what is predicted: `Task.BINARY` (yes or no), `Task.MULTICLASS` (one of several classes) or
      `Task.REGRESSION` (a number). `classes` names those of a multiclass task; left out, they are those of its labels.
    - `carried`: columns of the example that its predictions show beside the key.
    - `replays`: whether its source also answers days after `last_day` where `NIGHTSHIFT_REPLAY` is on.
    """

    name: str
    title: str
    owner: str
    package: str
    timezone: str
    day_starts: time
    cron: str
    first_day: date
    last_day: date
    topics: tuple[Topic, ...]
    horizons: tuple[Horizon, ...]
    examples: str
    outcomes: str
    key: str
    candidates: tuple[str, ...]
    history_days: int
    lookback_days: int
    holdout_days: int
    task: Task = Task.BINARY
    classes: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    replays: bool = False

    def __post_init__(self) -> None:
        require_types(self)
        named = {topic.name for topic in self.topics}
        parts = [(topic, part) for topic in self.topics for part in topic.parts]
        topics = tuple(part for topic, part in parts if part.name == topic.name or part.name not in named)
        object.__setattr__(self, "topics", topics)
        outcomes = next((topic.name for topic in topics if topic.of == self.outcomes), self.outcomes)
        object.__setattr__(self, "outcomes", outcomes)
        require_sound(self)

    @property
    def zone(self) -> ZoneInfo:
        """The zone whose calendar names the data days."""
        return ZoneInfo(self.timezone)

    def day_start(self, day: date) -> datetime:
        """The instant at which data day `day` begins (the first of two on the day clocks go back)."""
        return datetime.combine(day, self.day_starts, tzinfo=self.zone)

    def day_end(self, day: date) -> datetime:
        """The instant at which data day `day` is over."""
        return self.day_start(day + timedelta(days=1))

    def newest_day_over(self, moment: datetime) -> date:
        """The newest data day that is over at a moment."""
        day = moment.astimezone(self.zone).date()
        while self.day_end(day) > moment:
            day -= timedelta(days=1)
        return day

    def topic(self, name: str) -> Topic:
        """The topic of that name."""
        return next(topic for topic in self.topics if topic.name == name)

    def horizon(self, name: str) -> Horizon:
        """The horizon of that name."""
        return next(horizon for horizon in self.horizons if horizon.name == name)

    def readable(self, horizon: Horizon, day: date) -> Iterator[tuple[str, date]]:
        """The raw partitions, topic and day, that the features of a horizon's day are made from.

        It is what the run that publishes them has, as far as the lookback reaches, and never more.
        """
        run = day - timedelta(days=horizon.day_offset)
        first = max(self.first_day, day - timedelta(days=self.lookback_days))
        for topic in self.topics:
            last = min(day, run + timedelta(days=topic.day_offset))
            yield from ((topic.name, first + timedelta(days=n)) for n in range((last - first).days + 1))


@dataclass(frozen=True)
class UseCase:
    """A use case's package, its parts imported when first asked for."""

    spec: UseCaseSpec

    @property
    def name(self) -> str:
        """The name in the lake, the registry and the DAG ids."""
        return self.spec.name

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """The contract of each topic, by its name."""
        from include.quality.plan_and_outcome import contracts  # only now: DAG files load no pyarrow

        return contracts(self.spec, self.part("contracts").RAW)

    def source(self, settings: Settings) -> Source:
        """Where its raw records come from, by topic."""
        from include.sources.split import SplitSource  # only now: DAG files load no pyarrow

        source: Source = self.part("sources").source(settings)
        tables = {topic.name: topic.of for topic in self.spec.topics if topic.of}
        return SplitSource(source, tables) if tables else source

    def part(self, module: str) -> ModuleType:
        """One module of the package, such as `label`."""
        return importlib.import_module(f"{self.spec.package}.{module}")

    def has_part(self, module: str) -> bool:
        """Whether the package has that module."""
        return importlib.util.find_spec(f"{self.spec.package}.{module}") is not None


def load_use_case(named: str) -> UseCase:
    """The use case that is named: a package such as `include.use_cases.yours`, an entry point or a folder.

    Raises `SettingsError` that names the package and, where its spec.py is at fault, the line and the field.
    """
    package = find_package(named)
    try:
        spec = importlib.import_module(f"{package}.spec").SPEC
    except Exception as error:  # a spec.py may raise anything
        raise SettingsError(f"use case {package!r} cannot be loaded: {_why(error, package)}") from None
    if not isinstance(spec, UseCaseSpec):
        raise SettingsError(f"use case {package!r}: spec.py: SPEC is a {type(spec).__name__}; make it a UseCaseSpec")
    if spec.package != package:
        raise SettingsError(
            f"use case {package!r}: its SPEC.package says {spec.package!r}; write the folder's own name"
        )
    return UseCase(spec)


def _why(error: Exception, package: str) -> str:
    """Where and why a spec.py could not be read, in one line."""
    if isinstance(error, ModuleNotFoundError) and f"{package}.spec".startswith(str(error.name)):
        return f"{error}; NIGHTSHIFT_USE_CASES lists packages with a spec.py, entry points or folders"
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or 'spec.py').name}:{error.lineno}: {error.msg}; correct the line"
    if isinstance(error, AttributeError) and error.name == "SPEC":
        return "spec.py names no SPEC; it needs a SPEC = UseCaseSpec(…)"
    place = line_of(error, package)
    said = str(error) if isinstance(error, SettingsError) else f"{type(error).__name__}: {error}"
    return (f"{place}: " if place else "") + said.replace("UseCaseSpec.__init__()", "SPEC")
