"""Whether features know the future: worlds with one past and other futures must have the same features up to the cut.

The control is part of it. If there was nothing to change, or changing what was known moves no feature, nothing is
proved, and the verdict is "inconclusive".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from include.check.finding import Mistake, line_of
from include.check.futures import Touch, another_future, another_past, hidden, shuffled, touches
from include.check.records import World
from include.check.sample import CheckSample
from include.quality.contract import Contract
from include.step import Context
from include.use_case import Horizon, UseCase, UseCaseSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HORIZON, DATE, AS_OF = "horizon", "date", "as_of"
SEED = 20130101
PLACE = 0.6
"""Where in the order of a day's as_of the cut is made, for a horizon that has many."""
SEARCH_SECONDS = 60.0
"""How long to search for the columns that a leak comes from."""
SHOWN = 5
SAME = 1e-9
"""Relative difference up to which two numbers are one: sums of floats depend on the order of their rows."""
FILE = "features.py"
SPARK_CONF = {"spark.sql.shuffle.partitions": "1", "spark.sql.adaptive.enabled": "false"}
TWICE = "it depends on chance, or on the order of records; order by a key, and take no random numbers"

Build = Callable[[World, Mapping[str, Sequence[date]]], pd.DataFrame]


class BuildError(Exception):
    """The use case's own code failed; `finding` says where."""

    def __init__(self, finding: Mistake) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass
class Proof:
    """The findings of the leak check, and what keeps it from being conclusive."""

    findings: list[Mistake] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cut:
    """A moment at which a horizon's examples of the day are looked at: its as_of, microseconds since 1970."""

    horizon: Horizon
    at: int

    def __str__(self) -> str:
        return f"{self.horizon.name}, as_of {pd.Timestamp(self.at, unit='us', tz='UTC'):%Y-%m-%dT%H:%MZ}"


def check_features(context: Context, sample: CheckSample, spark: SparkSession) -> Proof:
    """Build the features of a sample in worlds with one past and other futures, and compare."""
    proof = Proof()
    try:
        with _few_rows(spark):
            _Check(context.use_case, sample, _builder(context.use_case, spark), proof).run()
    except BuildError as error:
        proof.findings.append(error.finding)
    return proof


@contextmanager
def _few_rows(spark: SparkSession) -> Iterator[None]:
    """Set a session up for few rows, for as long as the block lasts."""
    before = {key: spark.conf.get(key, "") for key in SPARK_CONF}
    try:
        for key, value in SPARK_CONF.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)


def _builder(use_case: UseCase, spark: SparkSession) -> Build:
    """Features of any world, as a frame in the order of their keys."""
    contract: Contract = use_case.part("feature_contract").FEATURES
    build = use_case.part("features").build
    key = use_case.spec.key

    def built(world: World, wanted: Mapping[str, Sequence[date]]) -> pd.DataFrame:
        with _failures(use_case.spec.package):
            raw = {name: spark.createDataFrame(records.table) for name, records in world.items()}
            rows = build(spark, raw, wanted)
        if lacking := [name for name in (HORIZON, *contract.names) if name not in rows.columns]:
            raise BuildError(Mistake(FILE, lacking[0], "is in feature_contract.py, but not in build's answer; add it"))
        with _failures(use_case.spec.package):
            table = rows.select(HORIZON, *contract.names).toArrow()
        spark.catalog.clearCache()
        frame: pd.DataFrame = table.to_pandas(date_as_object=True)
        return frame.set_index([HORIZON, DATE, key], drop=False).sort_index()

    return built


@contextmanager
def _failures(package: str) -> Iterator[None]:
    """Report an error of the use case's own code with file and line."""
    try:
        yield
    except Exception as error:
        raise BuildError(_failure(error, package)) from error


def _failure(error: Exception, package: str) -> Mistake:
    said = next(iter(str(error).strip().splitlines()), "")
    return Mistake(line_of(error, package) or FILE, "build", f"{type(error).__name__}: {said}")


@dataclass(frozen=True)
class _Check:
    use_case: UseCase
    sample: CheckSample
    build: Build
    proof: Proof
    _found: set[str] = field(default_factory=set)
    """The columns with a finding."""

    @property
    def spec(self) -> UseCaseSpec:
        return self.use_case.spec

    def run(self) -> None:
        """For each horizon: the day alone, then within a range in a world with another future; at last the control."""
        cuts = []
        for horizon in self.spec.horizons:
            alone = self._alone(horizon)
            if not len(alone):
                self.proof.doubts.append(f"{horizon.name}: {self.sample.day} has no example")
                continue
            if problems := list(_malformed(alone, self.spec, self.sample)):
                self.proof.findings += problems
                continue
            moments = _instants(alone[AS_OF])
            cut = Cut(horizon, int(np.sort(moments)[int(PLACE * len(moments))]))
            cuts.append((cut, alone))
            future = self._within(horizon, another_future(self.sample.world, self.spec, cut.at, self._touches, SEED))
            known = alone[moments <= cut.at]
            if set(moved(known, future.loc[future.index.isin(known.index)])) - self._found:
                self._explain(cut, known, alone)
        if cuts:
            self._control(cuts)

    @property
    def _touches(self) -> Sequence[Touch]:
        return touches(self.sample.world)

    def _alone(self, horizon: Horizon) -> pd.DataFrame:
        """The day from exactly the partitions that its manifest lists."""
        readable: dict[str, set[date]] = {}
        for topic, day in self.spec.readable(horizon, self.sample.day):
            readable.setdefault(topic, set()).add(day)
        world = {name: records.of_days(readable.get(name, set())) for name, records in self.sample.world.items()}
        return self.build(world, {horizon.name: [self.sample.day]})

    def _within(self, horizon: Horizon, world: World) -> pd.DataFrame:
        """The day from all there is, computed together with the day before."""
        rows = self.build(world, {horizon.name: [self.sample.day - timedelta(days=1), self.sample.day]})
        return rows[rows[DATE] == self.sample.day]

    def _explain(self, cut: Cut, known: pd.DataFrame, alone: pd.DataFrame) -> None:
        """Find out what the features depend on: chance, the future, or days that their run does not have."""
        there = self._within(cut.horizon, self.sample.world)
        again = self._within(cut.horizon, shuffled(self.sample.world, SEED))
        for column, count in moved(there, again).items():
            self._find([column], f"differs in {count} of {len(there)} rows when it is computed twice: {TWICE}")
        self._leaks(cut, there.loc[there.index.isin(known.index)])
        for column, count in moved(alone, there).items():
            self._find(
                [column],
                f"differs in {count} of {len(alone)} rows of {cut.horizon.name} when {self.sample.day} is computed "
                "alone, from what its run has, and when it is computed in a range; use no day but the "
                f"lookback_days={self.spec.lookback_days} before, and none that is published later",
            )

    def _leaks(self, cut: Cut, expected: pd.DataFrame) -> None:
        """A finding for each part of the future that moves features: values first, then rows that come or go."""
        until = time.monotonic() + SEARCH_SECONDS

        def seen(how: Sequence[Touch]) -> set[str]:
            rows = self._within(cut.horizon, another_future(self.sample.world, self.spec, cut.at, how, SEED))
            return set(moved(expected, rows.loc[rows.index.isin(expected.index)])) - self._found

        def culprits(how: Sequence[Touch], found: set[str]) -> Iterator[tuple[Sequence[Touch], set[str]]]:
            if not found:
                return
            if len(how) == 1 or time.monotonic() > until:
                yield how, found
                return
            parts = [part for half in _halves(how) for part in culprits(half, seen(half))]
            yield from parts or [(how, found)]

        for of_values in (True, False):
            seen_by: dict[tuple[str, ...], list[Touch]] = {}
            how = [touch for touch in self._touches if bool(touch.column) is of_values]
            for part, found in culprits(how, seen(how)):
                seen_by.setdefault(tuple(sorted(found)), []).extend(part)
            for columns, parts in seen_by.items():
                self._find(
                    columns,
                    f"knows the future: moves with {_few(list(map(str, parts)))}, which became known after as_of "
                    f"({cut}); use only what is known by then, or say in spec.py when it is (Topic's known_at, late)",
                    again=True,
                )
            self._found.update(column for columns in seen_by for column in columns)

    def _control(self, cuts: Sequence[tuple[Cut, pd.DataFrame]]) -> None:
        """Change what was known: inputs that do not move, or a topic without a future to change, prove nothing."""
        last = max(cut.at for cut, _ in cuts)
        every = list(self.sample.world)
        for cut, alone in cuts:
            after = alone[_instants(alone[AS_OF]) >= cut.at]
            if not self._moves(cut, every, last, after):
                self.proof.doubts.append(
                    f"{cut}: changing all that was known moves no input of a candidate; do features read their topics?"
                )
            for topic in (name for name, count in hidden(self.sample.world, self.spec, cut.at).items() if not count):
                if self._moves(cut, [topic], last, after):
                    self.proof.doubts.append(f"{cut}: of {topic} nothing became known later, so nothing was changed")

    def _moves(self, cut: Cut, topics: Sequence[str], at: int, after: pd.DataFrame) -> bool:
        rows = self._within(cut.horizon, another_past(self.sample.world, self.spec, at, topics, SEED))
        inputs = {name for recipe in self.use_case.part("candidates").CANDIDATES for name in recipe.inputs}
        return not inputs.isdisjoint(moved(after, rows.loc[rows.index.isin(after.index)]))

    def _find(self, columns: Sequence[str], problem: str, *, again: bool = False) -> None:
        """Note a finding; of a column one is enough, unless it says another thing that moves it."""
        if again or not self._found.issuperset(columns):
            self.proof.findings.append(Mistake(FILE, _few(columns), problem))
        if not again:
            self._found.update(columns)


def _halves(how: Sequence[Touch]) -> tuple[Sequence[Touch], Sequence[Touch]]:
    return how[: len(how) // 2], how[len(how) // 2 :]


def _few(names: Sequence[str]) -> str:
    """The first of the names, and how many there are besides."""
    others = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + others


def _malformed(rows: pd.DataFrame, spec: UseCaseSpec, sample: CheckSample) -> Iterator[Mistake]:
    """What every build must return: one row for each example of the requested dates."""
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()]
        yield Mistake(FILE, spec.key, f"{len(twice)} examples have several rows, such as {twice[0]}; make it one each")
        return
    examples = sample.world[spec.examples].of_days({sample.day}).table[spec.key].to_pylist()
    if apart := sorted(map(str, set(examples) ^ set(rows[spec.key]))):
        yield Mistake(
            FILE,
            spec.key,
            f"{sample.day} has {len(rows)} rows, {spec.examples} {len(examples)} ({apart[0]} is only in one of them); "
            "answer one row for each",
        )
    if rows[AS_OF].isna().any():
        yield Mistake(FILE, AS_OF, f"is empty in {int(rows[AS_OF].isna().sum())} rows; say when each is looked at")


def moved(expected: pd.DataFrame, actual: pd.DataFrame) -> dict[str, int]:
    """In how many rows each column differs; a row that is in one of them only counts under the key's name."""
    actual = actual[~actual.index.duplicated()]
    apart = len(expected.index.symmetric_difference(actual.index))
    found = {str(expected.index.names[-1]): apart} if apart else {}
    both = expected.index.intersection(actual.index)
    left, right = expected.loc[both], actual.loc[both]
    for column in expected.columns:
        if differs := int(_differs(left[column], right[column]).sum()):
            found[str(column)] = differs
    return found


def _differs(left: pd.Series, right: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if pd.api.types.is_float_dtype(left.dtype) or pd.api.types.is_float_dtype(right.dtype):
        a, b = left.astype(float).to_numpy(), right.astype(float).to_numpy()
        return np.asarray(~np.isclose(a, b, rtol=SAME, atol=SAME, equal_nan=True))
    both_empty = left.isna().to_numpy() & right.isna().to_numpy()
    return np.asarray((left.to_numpy() != right.to_numpy()) & ~both_empty)


def _instants(column: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    instants: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        column.dt.tz_convert("UTC").astype("datetime64[us, UTC]").astype("int64").to_numpy()
    )
    return instants
