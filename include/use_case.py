"""What a use case is: the data that DAGs, steps, lake, registry and serving are driven by.

A use case is one package. `spec.py` holds its `SPEC` and may import nothing but this module and the standard
library, because DAG files read it. The other modules are imported by the step that needs them:

- `sources.py`: `source(settings) -> Source`
- `contracts.py`: `RAW: Mapping[topic, Contract]`, `FEATURES: Contract`
- `features.py`: `build(spark, raw, days, horizon) -> pyspark DataFrame`
- `label.py`: `labels(raw, known_by) -> pandas DataFrame`
- `candidates.py`: `CANDIDATES: tuple[Recipe, ...]`
- `gates.py`: `GATES: Gates`
- `lookup.py`, which may be left out: `LOOKUP: Lookup`, what serving can look up of its predictions
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from types import ModuleType
from zoneinfo import ZoneInfo

from include.errors import SettingsError

DEFAULT_USE_CASES = "include.use_cases.flight_delay"
"""What `NIGHTSHIFT_USE_CASES` is where nobody set it: dotted packages, separated by commas."""


@dataclass(frozen=True)
class Topic:
    """One kind of raw record; the run of day D publishes the partition of D + `day_offset`."""

    name: str
    day_offset: int = 0


@dataclass(frozen=True)
class Horizon:
    """A moment at which predictions are made; the run of day D scores the examples of D + `day_offset`."""

    name: str
    day_offset: int = 0


@dataclass(frozen=True)
class UseCaseSpec:
    """A use case as its DAG sees it.

    `examples` is the topic whose rows are predicted (one prediction a row), `outcomes` the one that holds what came of
    them. `history_days` is how many days before D a run trains on, `lookback_days` how many more the oldest feature
    row looks back, `holdout_days` how many of the newest days judge the candidates. `carried` names the example's
    columns that its predictions show beside the key.
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
    carried: tuple[str, ...] = ()

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

    def topic(self, name: str) -> Topic:
        """The topic of that name."""
        return next(topic for topic in self.topics if topic.name == name)

    def horizon(self, name: str) -> Horizon:
        """The horizon of that name."""
        return next(horizon for horizon in self.horizons if horizon.name == name)


@dataclass(frozen=True)
class UseCase:
    """A use case's package, its parts imported when first asked for."""

    spec: UseCaseSpec

    @property
    def name(self) -> str:
        """The name in the lake, the registry and the DAG ids."""
        return self.spec.name

    def part(self, module: str) -> ModuleType:
        """One module of the package, such as `label`."""
        return importlib.import_module(f"{self.spec.package}.{module}")

    def has_part(self, module: str) -> bool:
        """Whether the package has that module."""
        return importlib.util.find_spec(f"{self.spec.package}.{module}") is not None


def first_package(named: str) -> str:
    """The use case that stands first among dotted packages separated by commas: the one that commands are for."""
    return named.split(",", maxsplit=1)[0].strip()


def load_use_case(package: str) -> UseCase:
    """The use case that lies in a dotted package, such as `include.use_cases.flight_delay`."""
    try:
        spec = importlib.import_module(f"{package}.spec").SPEC
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"use case {package!r} cannot be loaded: {error}; it needs a spec.py with SPEC") from None
    if spec.package != package:
        raise SettingsError(
            f"use case {package!r}: its SPEC.package says {spec.package!r}; write the folder's own name"
        )
    return UseCase(spec)
