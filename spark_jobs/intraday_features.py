"""intraday_features: the features of the examples that are due within the next hours, from what is known by now.

The use case's own feature code makes them, so they are exactly the columns that models are trained on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from include import identity
from include.errors import DataError, SkippedError
from include.modelling.intraday import IntradayArguments
from include.quality.conform import conform
from include.quality.contract import Contract
from include.sources.source import Source
from include.step import Context, Result, main
from include.storage.lake import Dataset, Lake, Layer, days_between
from include.use_case import UseCaseSpec

AS_OF = "as_of"
DAY = timedelta(days=1)  # the one that has begun comes after the last that a source has in full
FILE = "features.parquet"

log = logging.getLogger("nightshift")


class IntradayFeaturesArguments(IntradayArguments):
    """Command-line arguments of intraday_features."""


def intraday_features(context: Context, arguments: IntradayFeaturesArguments) -> Result:
    """Publish the feature rows of the horizon whose as_of is in (moment - ahead, moment]; once, unless forced.

    What other code made stays and is reported: what was known at its moment is not there to be read again. Raises
    `SettingsError` for a moment that is still to come, `DataError` unless there is one row for each example.
    """
    spec, lake, target = context.use_case.spec, context.lake, arguments.partition(Layer.FEATURES)
    arguments.checked_horizon(spec, datetime.now(UTC))
    published = None if arguments.force else lake.manifest(target)
    code = identity.features(spec)
    if published is not None and published.inputs.get(identity.CODE, code) != code:
        log.warning("intraday_features: %s was made by other code; --force makes it from what is known now", target)
    if published is None:
        contract: Contract = context.use_case.part("feature_contract").FEATURES
        made_from: dict[str, str] = {identity.CODE: code}
        rows = _due(_features(context, arguments, made_from), arguments).select(contract.names)
        rows = rows.sort_by([(name, "ascending") for name in contract.order]).cast(contract.schema)
        published = lake.publish(target, {FILE: rows}, inputs=made_from, force=arguments.force)
    log.info("intraday_features: %d examples are due by %s", published.rows, arguments.moment + arguments.ahead)
    name = str(arguments.dataset(Layer.FEATURES))
    return Result(rows={name: published.rows}, uris={name: lake.uri(target)})


def _features(context: Context, arguments: IntradayFeaturesArguments, made_from: dict[str, str]) -> pa.Table:
    """The rows of all days that may be due; the lake's partitions that they come from are noted in `made_from`."""
    spec = context.use_case.spec
    days = wanted_days(spec, arguments)
    oldest = days[0] - timedelta(days=spec.lookback_days)
    read = _records(context, days_between(oldest, days[-1]), made_from)
    examples = sum(table.num_rows for day, table in read[spec.examples].items() if day in days)
    records = {topic: pa.concat_tables(tables.values()) for topic, tables in read.items()}
    del read
    if not records[spec.examples].num_rows:
        raise SkippedError(f"nothing is scheduled from {oldest} to {days[-1]}: publish the schedule, or set a replay")
    from include.spark import spark_session  # only now: a run with nothing to do need not load it

    build = context.use_case.part("features").build
    with spark_session(context.settings, f"{spec.name} intraday features") as spark:
        raw = {topic: spark.createDataFrame(table) for topic, table in records.items()}
        made: pa.Table = build(spark, raw, {arguments.horizon: days}).toArrow()
    if made.num_rows != examples:
        raise DataError(
            f"features.py: build() made {made.num_rows} rows of {arguments.horizon} from {examples} examples of "
            f"{days[0]} … {days[-1]}; answer one row for each"
        )
    return made


def wanted_days(spec: UseCaseSpec, arguments: IntradayFeaturesArguments) -> list[date]:
    """The days whose examples may be due: from the moment to the farthest look ahead, on the zone's calendar."""
    first, last = (at.astimezone(spec.zone).date() for at in (arguments.moment, arguments.moment + arguments.ahead))
    return days_between(first, last)


def _due(features: pa.Table, arguments: IntradayFeaturesArguments) -> pa.Table:
    """The rows whose as_of has come, but not longer ago than `ahead`."""
    since, until = (pa.scalar(at, pa.timestamp("us", tz="UTC")) for at in (arguments.since, arguments.moment))
    return features.filter(pc.and_(pc.greater(features[AS_OF], since), pc.less_equal(features[AS_OF], until)))


def _records(context: Context, days: Sequence[date], made_from: dict[str, str]) -> dict[str, dict[date, pa.Table]]:
    """Each topic's records by day, from the lake and, as it is now, the source (let go before Spark starts)."""
    contracts = context.use_case.contracts
    source = context.use_case.source(context.settings)
    topics = [topic.name for topic in context.use_case.spec.topics]
    return {topic: _read(context.lake, source, contracts[topic], days, made_from) for topic in topics}


def _read(
    lake: Lake, source: Source, contract: Contract, days: Sequence[date], made_from: dict[str, str]
) -> dict[date, pa.Table]:
    """A topic's records of the days: from the lake where a day is published, else what the source has of it so far."""
    dataset = Dataset(Layer.RAW, contract.name)
    published = set(lake.days(dataset))
    found = {}
    for day in days:
        if day in published:
            manifest = lake.require(dataset.on(day))
            made_from[str(dataset.on(day))] = manifest.sha256
            found[day] = lake.read_as(manifest, dataset.on(day)).select(contract.names).cast(contract.schema)
        elif source.first_day <= day and day - DAY <= source.last_day:
            found[day] = conform(source.read(contract.name, day), contract, f"source: {contract.name} of {day}").good
        else:
            found[day] = contract.schema.empty_table()
    return found


if __name__ == "__main__":
    main(IntradayFeaturesArguments, intraday_features)
