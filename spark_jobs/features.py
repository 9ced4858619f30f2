"""features: all missing feature partitions of a run's range, for every horizon, in one Spark job."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from formats.manifest import Manifest
from include import identity
from include.errors import DataError
from include.quality.contract import Contract
from include.step import Context, Result, StepArguments, main
from include.storage.lake import Dataset, Lake, Layer, Partition, days_between
from include.use_case import Horizon, UseCaseSpec
from spark_jobs.scratch import PART, READ_ONCE, Scratch, in_batches

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

CODE = "code"
"""The ingredient of a feature partition that is no partition: the code that computed it."""
PUBLISHERS = 8
"""Threads that publish: they mostly wait for the disk or the bucket."""
ROWS_PER_TASK = 50_000
"""Raw rows to a shuffle task: its joins hold about 2 KB a row in memory, and two tasks share a driver of 1 GiB."""
PROGRESS_SECONDS = 5.0
NO_PATTERNS = ("__globPaths__", "false")
"""Spark's own option: a path is one file. Escaped patterns would do, but Hadoop cannot read them beside a colon."""
DATE = "date"
NO_PART = -(2**31)
"""The partition of a row whose horizon or date there is not."""

log = logging.getLogger("nightshift")


class FeaturesArguments(StepArguments):
    """Command-line arguments of features."""


@dataclass(frozen=True)
class FeatureWork:
    """The feature dates to compute of each horizon, and what each of them is made from: code, hashes of raw partitions.

    `manifests` are those of the raw partitions. `outdated` are feature partitions that are published, and to be
    replaced.
    """

    wanted: Mapping[Horizon, Sequence[date]]
    ingredients: Mapping[Partition, Mapping[str, str]]
    manifests: Mapping[Partition, Manifest]
    outdated: frozenset[Partition]

    @property
    def rows(self) -> int:
        """Raw rows to read."""
        return sum(manifest.rows for manifest in self.manifests.values())

    def raw(self, topic: str) -> dict[Partition, Manifest]:
        """The partitions of a topic to read, in order of days."""
        return {one: manifest for one, manifest in self.manifests.items() if one.dataset.name == topic}

    def check(self, spec: UseCaseSpec, target: Partition, rows: pa.Table) -> None:
        """Raise `DataError` unless a feature partition has one row for each example of its day."""
        examples = Dataset(Layer.RAW, spec.examples).on(target.day)
        wanted = self.manifests[examples].rows if examples in self.manifests else 0
        if rows.num_rows != wanted:
            raise DataError(
                f"features.py: build() made {rows.num_rows} rows of {target} from {wanted} examples ({examples}); "
                "answer one row for each"
            )


def features(context: Context, arguments: FeaturesArguments) -> Result:
    """Compute and publish every feature partition of the run's range that is missing or out of date.

    One is up to date if the use case's present code made it from the present raw partitions. Spark is not started
    when nothing is missing. With `force` the run's own partitions are computed again. Raises `DataError`
    when raw data are missing, `SettingsError` without Java, `FaultError` when Spark cannot start.
    """
    spec, lake = context.use_case.spec, context.lake
    own = {horizon: _target(horizon, arguments.date + timedelta(days=horizon.day_offset)) for horizon in spec.horizons}
    clock = time.monotonic()
    code = identity.features(spec)
    work = _work(spec, lake, arguments.date, code, set(own.values()) if arguments.force else set())
    seconds = _compute(context, work) if work.ingredients else {}
    manifests = {str(target.dataset): lake.require(target) for target in own.values()}
    for target in own.values():
        log.info("features: %s has %d rows", target, manifests[str(target.dataset)].rows)
    return Result(
        rows={name: manifest.rows for name, manifest in manifests.items()},
        metrics=seconds | {"total_seconds": round(time.monotonic() - clock, 1)},
        uris={str(target.dataset): lake.uri(target) for target in own.values()},
        facts={
            "partitions_computed": len(work.ingredients),
            "history_partitions": len(set(work.ingredients) - set(own.values())),
            "sha256": {name: manifest.sha256 for name, manifest in manifests.items()},
        },
    )


def _target(horizon: Horizon, day: date) -> Partition:
    return Dataset(Layer.FEATURES, horizon.name).on(day)


def _work(spec: UseCaseSpec, lake: Lake, day: date, code: str, forced: set[Partition]) -> FeatureWork:
    first = max(spec.first_day, day - timedelta(days=spec.history_days))
    targets = {
        _target(horizon, each + timedelta(days=horizon.day_offset)): horizon
        for horizon in spec.horizons
        for each in days_between(first, day)
    }
    made_from = {target: list(_ingredients(spec, horizon, target.day)) for target, horizon in targets.items()}
    raw = _manifests(lake, {partition for partitions in made_from.values() for partition in partitions})
    published = _manifests(lake, targets)
    hashes = {partition: (str(partition), manifest.sha256) for partition, manifest in raw.items()}
    # What cannot be made now, as raw data are gone, cannot be judged and stays
    present = {
        target: {CODE: code} | dict(hashes[partition] for partition in partitions)
        for target, partitions in made_from.items()
        if hashes.keys() >= set(partitions)
    }
    outdated = {target for target in published.keys() & present.keys() if published[target].inputs != present[target]}
    lacking = [target for target in targets if target in forced | outdated or target not in published]
    needed = {partition for target in lacking for partition in made_from[target]}
    for partition in sorted(needed - set(raw), key=str):
        lake.require(partition)  # which is not there, and says so
    ingredients = {target: present[target] for target in sorted(lacking, key=lambda one: (one.day, str(one)))}
    wanted = {
        horizon: [target.day for target in ingredients if targets[target] == horizon] for horizon in spec.horizons
    }
    manifests = {partition: raw[partition] for partition in sorted(needed, key=str)}
    _tell(published, present, outdated, code)
    return FeatureWork(wanted, ingredients, manifests, frozenset(published.keys() & ingredients.keys()))


def _tell(
    published: Mapping[Partition, Manifest],
    present: Mapping[Partition, Mapping[str, str]],
    outdated: Iterable[Partition],
    code: str,
) -> None:
    """Log what is out of date and why, and what stays so because its raw data are gone."""
    reasons = Counter[str]()
    for target in outdated:
        reasons.update(identity.differences(published[target].inputs, present[target]).split(", "))
    stuck = sum(published[target].inputs.get(CODE) != code for target in published.keys() - present.keys())
    if reasons:
        told = ", ".join(f"another {reason}: {count}" for reason, count in sorted(reasons.items()))
        log.info("features: published partitions are out of date (%s) and computed again", told)
    if stuck:
        log.warning("features: %d partitions stay as other code made them, as raw data that they need are gone", stuck)


def _manifests(lake: Lake, partitions: Iterable[Partition]) -> dict[Partition, Manifest]:
    """The manifests of those of the partitions that are published."""
    days: dict[Dataset, list[date]] = {}
    for partition in partitions:
        days.setdefault(partition.dataset, []).append(partition.day)
    return {
        dataset.on(day): manifest
        for dataset, each in days.items()
        for day, manifest in lake.manifests(dataset, each).items()
    }


def _ingredients(spec: UseCaseSpec, horizon: Horizon, day: date) -> Iterator[Partition]:
    """What the run that publishes this date has, as far as the lookback reaches, and never more."""
    yield from (Dataset(Layer.RAW, topic).on(each) for topic, each in spec.readable(horizon, day))


def _compute(context: Context, work: FeatureWork) -> dict[str, float]:
    """Compute in Spark into a scratch folder, then publish from there. Returns the seconds of each part."""
    log.info("features: %d partitions to compute from %d raw rows", len(work.ingredients), work.rows)
    clock = time.monotonic()
    with Scratch.opened(context.lake, spark_is_local=context.settings.spark_is_local) as scratch:
        staged = {topic: scratch.stage(topic, work.raw(topic), _plain(contract)) for topic, contract in _raw(context)}
        checked = time.monotonic()
        started = _write(context, work, staged, scratch.target)
        computed = time.monotonic()
        _publish(context, work, scratch)
        published = time.monotonic()
    return {
        "check_seconds": round(checked - clock, 1),
        "spark_start_seconds": round(started - checked, 1),
        "compute_seconds": round(computed - started, 1),
        "publish_seconds": round(published - computed, 1),
    }


def _raw(context: Context) -> Iterable[tuple[str, Contract]]:
    return context.use_case.contracts.items()


def _plain(contract: Contract) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.kind.arrow) for column in contract.columns])


def _write(context: Context, work: FeatureWork, staged: Mapping[str, Sequence[str]], target: str) -> float:
    """Write Parquet, each file's rows in order of their partition; returns when Spark was up.

    A folder for each partition would cost a process or three for each (Hadoop sets the mode of what it makes on a disk
    by `chmod`), however few rows it has.
    """
    from include.spark import spark_session  # only now: a run with nothing to do need not load it

    use_case = context.use_case
    contract: Contract = use_case.part("feature_contract").FEATURES
    with spark_session(context.settings, f"{use_case.name} features", rows=work.rows) as spark:
        started = time.monotonic()
        log.info("features: Spark is up at %s", spark.sparkContext.master)
        tasks = max(spark.sparkContext.defaultParallelism, -(-work.rows // ROWS_PER_TASK))
        spark.conf.set("spark.sql.shuffle.partitions", tasks)
        raw = {topic: _read(spark, contract, staged[topic]) for topic, contract in _raw(context)}
        wanted = {horizon.name: list(days) for horizon, days in work.wanted.items() if days}
        rows = use_case.part("features").build(spark, raw, wanted).withColumn(PART, _number(use_case.spec.horizons))
        with _progress():
            rows.select(PART, *contract.names).sortWithinPartitions(PART).write.options(**READ_ONCE).parquet(target)
        spark.catalog.clearCache()
    return started


def _read(spark: SparkSession, contract: Contract, paths: Sequence[str]) -> DataFrame:
    schema = ", ".join(f"`{column.name}` {column.kind.sql}" for column in contract.columns)
    if not paths:
        return spark.createDataFrame([], schema)
    return spark.read.option(*NO_PATTERNS).schema(schema).parquet(*paths)


def _publish(context: Context, work: FeatureWork, scratch: Scratch) -> None:
    """Publish what Spark made, in the contract's order; a date without an example is published empty.

    The rows are encoded again: equal rows from Java have unequal bytes, because a footer lists its encodings in an
    order that differs from one process to the next. Raises `DataError` for a partition that has not one row for each
    example; it is not published.
    """
    lake, spec = context.lake, context.use_case.spec
    contract: Contract = context.use_case.part("feature_contract").FEATURES
    schema = _plain(contract)
    order = [(name, "ascending") for name in contract.order]
    targets = {_part(spec.horizons, target): target for target in work.ingredients}

    def publish(part: int, rows: pa.Table) -> None:
        target = targets[part]
        rows = rows.cast(schema).sort_by(order)
        work.check(spec, target, rows)
        lake.publish(target, {"features.parquet": rows}, inputs=work.ingredients[target], force=target in work.outdated)

    def made() -> Iterator[tuple[int, pa.Table]]:
        empty = dict.fromkeys(targets, schema.empty_table())
        for part, rows in scratch.made():
            if part == NO_PART:
                raise DataError(
                    f"features.py: {rows.num_rows} rows of build() have no horizon or date that was asked for "
                    f"({', '.join(horizon.name for horizon in spec.horizons)}); answer those it is given"
                )
            if empty.pop(part, None) is not None:
                yield part, rows
        yield from empty.items()

    with ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publish") as pool:
        for number, _ in enumerate(in_batches(pool, lambda each: publish(*each), made()), start=1):
            if number % 100 == 0 or number == len(targets):
                log.info("features: %d/%d partitions published", number, len(targets))


def _number(horizons: Sequence[Horizon]) -> Column:
    """A row's partition as one whole number, which the writer sorts by faster than by a name and a date."""
    from pyspark.sql import functions as F  # noqa: N812

    places = F.array(*(F.lit(horizon.name) for horizon in horizons))
    place = F.nullif(F.array_position(places, F.col("horizon")), F.lit(0)).cast("int")
    return F.coalesce(F.unix_date(DATE) * len(horizons) + place - 1, F.lit(NO_PART))


def _part(horizons: Sequence[Horizon], target: Partition) -> int:
    place = [horizon.name for horizon in horizons].index(target.dataset.name)
    return (target.day - date(1970, 1, 1)).days * len(horizons) + place


@contextmanager
def _progress() -> Iterator[None]:
    """Log a line every few seconds while Spark works."""
    done = threading.Event()
    start = time.monotonic()

    def tell() -> None:
        while not done.wait(PROGRESS_SECONDS):
            log.info("features: computing for %d s", time.monotonic() - start)

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


if __name__ == "__main__":
    main(FeaturesArguments, features)
