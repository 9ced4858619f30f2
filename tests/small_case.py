"""A use case of one table, made in the test: a lake, a source of given tables and contracts, no files of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from include.quality.contract import Column, Contract, Freshness, Kind, Reference
from include.settings import Settings
from include.sources.source import Source
from include.step import Context
from include.storage.lake import Dataset, Lake, Layer
from include.use_case import Horizon, Topic, UseCase, UseCaseSpec

DAY = date(2026, 5, 20)
FIRST = date(2026, 5, 1)

SPEC = UseCaseSpec(
    name="small",
    title="Small",
    owner="tests",
    package="tests.small_case",
    timezone="UTC",
    day_starts=time(0, 0),
    cron="30 0 * * *",
    first_day=FIRST,
    last_day=date(2026, 6, 30),
    topics=(Topic("sales"), Topic("plans", day_offset=1)),
    horizons=(Horizon("morning"),),
    examples="plans",
    outcomes="sales",
    key="id",
    candidates=("rates",),
    history_days=4,
    lookback_days=1,
    holdout_days=2,
)
PLANS = Contract("plans", columns=(Column("id", Kind.TEXT), Column("amount", Kind.NUMBER)), key=("id",), order=("id",))
SALES = Contract(
    "sales",
    columns=(
        Column("id", Kind.TEXT, pattern=r"[a-z]+-\d+"),
        Column("shop", Kind.TEXT, one_of=("north", "south")),
        Column("amount", Kind.NUMBER, minimum=0, maximum=1000),
        Column("note", Kind.TEXT, required=False),
        Column("at", Kind.INSTANT),
    ),
    key=("id",),
    order=("at", "id"),
    max_quarantined=0.1,
    max_nulls={"note": 0.9},
    references=(Reference("id", "plans", "id", min_share=0.5),),
    freshness=Freshness("at", warn_after=timedelta(hours=3), fail_after=timedelta(hours=12)),
)
FEATURES = Contract(
    "features",
    columns=(Column("id", Kind.TEXT), Column("age", Kind.INTEGER, minimum=0, maximum=120)),
    key=("id",),
    order=("id",),
)


def sales(day: date, rows: int = 20) -> pa.Table:
    """A good day's sales, the last in its last hour."""
    hours = [f"{day}T{hour * 23 // max(rows - 1, 1):02}:30:00+00:00" for hour in range(rows)]
    return pa.table(
        {
            "id": [f"s-{number}" for number in range(rows)],
            "shop": ["north", "south"] * (rows // 2) + ["north"] * (rows % 2),
            "amount": [float(number) for number in range(rows)],
            "note": ["fine", None] * (rows // 2) + [None] * (rows % 2),
            "at": hours,
        }
    )


def plans(day: date, rows: int = 20) -> pa.Table:
    """The plans that `sales` come from."""
    return pa.table({"id": [f"s-{number}" for number in range(rows)], "amount": [1.0] * rows})


def changed(table: pa.Table, column: str, values: Any) -> pa.Table:
    """The table with another column in place of one; a mapping changes single rows."""
    if isinstance(values, Mapping):
        given = table[column].to_pylist()
        values = [values.get(number, value) for number, value in enumerate(given)]
    return table.set_column(table.column_names.index(column), column, pa.array(values))


@dataclass
class Tables:
    """A source that answers with a good day, unless another table is put there."""

    first_day: date = FIRST
    last_day: date = SPEC.last_day
    given: dict[tuple[str, date], pa.Table] = field(default_factory=dict)
    reads: list[tuple[str, date]] = field(default_factory=list)

    def read(self, topic: str, day: date) -> pa.Table:
        self.reads.append((topic, day))
        made = {"sales": sales, "plans": plans}[topic]
        return self.given.get((topic, day), made(day))


@dataclass(frozen=True)
class SmallCase(UseCase):
    """The use case; stands in for a package."""

    given: Source
    raw: Mapping[str, Contract]

    def part(self, module: str) -> Any:
        return {
            "sources": SimpleNamespace(source=lambda settings: self.given),
            "contracts": SimpleNamespace(RAW=self.raw),
            "feature_contract": SimpleNamespace(FEATURES=FEATURES),
        }[module]


def small_context(folder: Path, source: Source | None = None, **contract: Any) -> Context:
    """A context over an empty lake in a folder; keyword arguments change the sales contract."""
    settings = Settings(lake=str(folder / "lake"))
    case = SmallCase(SPEC, source or Tables(), {"sales": replace(SALES, **contract), "plans": PLANS})
    return Context(settings, case, Lake.open(settings, "small"))


def publish_features(lake: Lake, day: date, ages: list[int] | None = None) -> None:
    """A good day of features, or one with these ages."""
    given = ages if ages is not None else [30] * 20
    table = pa.table({"id": [f"s-{n}" for n in range(len(given))], "age": pa.array(given, pa.int64())})
    lake.publish(Dataset(Layer.FEATURES, "morning").on(day), {"rows.parquet": table.cast(FEATURES.schema)}, force=True)
