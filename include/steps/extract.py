"""extract: read the source's records of a data day and its history into raw partitions of the lake."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from include.errors import DataError, LakeError, SettingsError
from include.quality.breaches import counts, describe
from include.quality.conform import conform
from include.quality.contract import Contract, check_references
from include.quality.data_day import Calendar, DataDay
from include.quality.outdated import Outdated, sorted_by, tell_kept
from include.quality.undated import set_apart
from include.sources.source import Extensible, Source
from include.step import Context, Result, StepArguments, main
from include.storage.lake import Dataset, Lake, Layer, Partition, days_between
from include.use_case import Topic, UseCaseSpec

WRITERS = 8
"""Threads that publish: they mostly wait for the disk or the bucket."""
PROGRESS_SECONDS = 3.0

log = logging.getLogger("nightshift")


class ExtractArguments(StepArguments):
    """Command-line arguments of extract; `renew` reads the run's whole history again, as far as the source has it."""

    renew: bool = False


@dataclass(frozen=True)
class Extracted:
    """The result for one topic's day; `kept` is why it stays as it was, empty if it was published."""

    partition: Partition
    rows: int
    quarantined: int
    breaches: Counter[str]
    kept: str = ""


@dataclass(frozen=True)
class ExtractPlan:
    """The partitions to read, oldest first; of those that are published, which ones must and which ones should be."""

    wanted: list[Partition]
    forced: frozenset[Partition]
    renewed: frozenset[Partition]


def extract(context: Context, arguments: ExtractArguments) -> Result:
    """Publish every raw partition that the run of `date` needs and that is not there yet, or out of date.

    One is out of date if another contract, source code or setting sorted it; it stays if the source no longer has it.
    Rows that break a row rule go to `quarantine/<topic>`, those that name no day to its day `NO_DAY`. With `force` the
    run's own days are read and published again.
    Raises `SettingsError` for a day the source does not have, `DataError` when a day's data break their contract,
    `LakeError` for an empty lake whose models are registered: its mount is away.
    """
    spec = context.use_case.spec
    source = context.use_case.source(context.settings)
    check_day(spec, source, arguments.date, datetime.now(UTC))
    if not (arguments.force or arguments.renew):
        _require_lake(context)
    context.lake.store.sweep(context.lake.prefix)
    contracts = context.use_case.contracts
    check_references(contracts)
    identities = sorted_by(spec, contracts, source)
    plan = _plan(context.lake, spec, source, identities, arguments)
    wanted = plan.wanted
    own = {Dataset(Layer.RAW, topic.name).on(_own_day(topic, arguments.date)) for topic in spec.topics}
    if wanted:
        log.info("extract: %d partitions to read, %s … %s", len(wanted), wanted[0].day, wanted[-1].day)
    undated = set_apart(context.lake, source, contracts, wanted, own, renewed=plan.renewed)
    every = _extract_all(context, source, contracts, identities, plan)
    tell_kept((one.partition, one.kept) for one in every if one.kept)
    done = [one for one in every if not one.kept]
    for partition in sorted(own, key=str):
        log.info("extract: %s has %d rows", partition, context.lake.require(partition).rows)
    quarantined = sum((extracted.breaches for extracted in done), undated)
    return Result(
        rows={str(partition.dataset): context.lake.require(partition).rows for partition in sorted(own, key=str)},
        uris={str(partition.dataset): context.lake.uri(partition) for partition in sorted(own, key=str)},
        facts={
            "partitions_read": len(done),
            "history_days": len({extracted.partition.day for extracted in done if extracted.partition not in own}),
            "rows_read": sum(extracted.rows + extracted.quarantined for extracted in done) + undated.total(),
            "quarantined": sum(extracted.quarantined for extracted in done) + undated.total(),
            "breaches": dict(quarantined.most_common(5)),
        },
    )


def _require_lake(context: Context) -> None:
    """Refuse to begin an empty lake while the registry has versions that were made from it."""
    if context.settings.tracking_url is None or not context.lake.bare():
        return
    from include.model_registry.versions import Registry  # only now: MLflow takes seconds to load

    if versions := Registry.open(context.settings, context.use_case.name).versions():
        raise LakeError(
            f"lake: nothing is at {context.lake.store.uri(context.lake.prefix)}, but MLflow has models made from it "
            f"(the newest is version {versions[-1].version}); bring its mount back, correct NIGHTSHIFT_LAKE, or begin "
            "an empty lake with --force"
        )


def check_day(spec: UseCaseSpec, source: Source, day: date, now: datetime) -> None:
    """Refuse a data day that the source cannot answer, or that is not over, before any work is done."""
    span = f"{source.first_day} … {source.last_day}" if source.last_day != date.max else f"from {source.first_day} on"
    if not source.first_day <= day <= source.last_day:
        later = source.later_days if isinstance(source, Extensible) else ""
        beyond = f" or {later}" if later and day > source.last_day else ""
        raise SettingsError(f"data day {day} is outside the data ({span}); choose a day inside{beyond}")
    if spec.day_end(day) > now:
        raise SettingsError(
            f"data day {day} is in the future or not over: it ends {spec.day_end(day).isoformat()}; take an earlier one"
        )


def _own_day(topic: Topic, day: date) -> date:
    return day + timedelta(days=topic.day_offset)


def _plan(
    lake: Lake,
    spec: UseCaseSpec,
    source: Source,
    identities: Mapping[str, Mapping[str, str]],
    arguments: ExtractArguments,
) -> ExtractPlan:
    day = arguments.date
    first = max(source.first_day, day - timedelta(days=spec.history_days + spec.lookback_days))
    last = {Dataset(Layer.RAW, topic.name): _own_day(topic, day) for topic in spec.topics}
    missing = {dataset.on(each) for dataset in last for each in lake.missing(dataset, first, last[dataset])}
    forced = {dataset.on(each) for dataset in last for each in days_between(day, last[dataset]) if arguments.force}
    if arguments.renew:
        renewed = {dataset.on(each) for dataset in last for each in days_between(first, last[dataset])}
    else:
        outdated = Outdated.among(lake, spec, identities, day, besides=missing | forced)
        outdated.tell(source.first_day)
        renewed = {partition for partition in outdated.differences if partition.day >= first}
    wanted = sorted(missing | forced | renewed, key=lambda partition: (partition.day, str(partition)))
    return ExtractPlan(wanted, frozenset(forced), frozenset(renewed - missing - forced))


def _extract_all(
    context: Context,
    source: Source,
    contracts: Mapping[str, Contract],
    identities: Mapping[str, Mapping[str, str]],
    plan: ExtractPlan,
) -> list[Extracted]:
    """Read and publish the partitions in parallel; the oldest one's error is raised, the rest is left for a retry."""
    lake = context.lake
    datasets = {Dataset(Layer.QUARANTINE, one.dataset.name) for one in plan.wanted}
    quarantined = {dataset: set(lake.days(dataset)) for dataset in datasets}

    def extract_one(partition: Partition) -> Extracted:
        topic = partition.dataset.name
        records = _read(lake, source, partition, renewed=partition in plan.renewed)
        if isinstance(records, str):
            return Extracted(partition, 0, 0, Counter(), kept=records)
        known = partition.day in quarantined[Dataset(Layer.QUARANTINE, topic)]
        force = partition in plan.forced | plan.renewed
        return _extract_one(
            lake,
            records,
            contracts[topic],
            partition,
            context.use_case.spec,
            made_by=identities[topic],
            requarantine=known,
            force=force,
        )

    pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="extract")
    try:
        return list(_with_progress([pool.submit(extract_one, partition) for partition in plan.wanted]))
    finally:
        pool.shutdown(cancel_futures=True)


def _with_progress(futures: list[Future[Extracted]]) -> Iterator[Extracted]:
    """The results in order, with a line every few seconds."""
    said = time.monotonic()
    rows = 0
    for number, future in enumerate(futures, start=1):
        extracted = future.result()
        rows += extracted.rows
        if time.monotonic() - said > PROGRESS_SECONDS or number == len(futures):
            log.info("extract: %d/%d partitions, %d rows, at %s", number, len(futures), rows, extracted.partition.day)
            said = time.monotonic()
        yield extracted


def _read(lake: Lake, source: Source, partition: Partition, *, renewed: bool) -> pa.Table | str:
    """The source's records of a partition; or why it cannot be renewed: the source no longer has it."""
    try:
        records = source.read(partition.dataset.name, partition.day)
    except DataError as error:
        if renewed:
            return str(error)
        raise
    if renewed and not records.num_rows and lake.require(partition).rows:
        return "it answers without a row"
    return records


def _extract_one(
    lake: Lake,
    records: pa.Table,
    contract: Contract,
    partition: Partition,
    calendar: Calendar,
    *,
    made_by: Mapping[str, str],
    requarantine: bool,
    force: bool,
) -> Extracted:
    """Conform and publish one topic's day; quarantine first, so that it is there whenever the raw rows are."""
    day, topic = partition.day, partition.dataset.name
    where = f"source: {topic} of {day}"
    if records.num_rows < contract.min_rows:
        raise DataError(
            f"{where}: rule not_empty: {records.num_rows} rows, at least {contract.min_rows} are expected; "
            "deliver the day, or allow it by the contract's min_rows"
        )
    if not records.num_columns:
        records = contract.schema.empty_table()
    result = conform(records, contract, where, DataDay.of(calendar, day))
    if result.bad.num_rows or requarantine:
        # Always replaced: a stopped run may have left rows of data that have been corrected since.
        lake.publish(Dataset(Layer.QUARANTINE, topic).on(day), {"rows.parquet": result.bad}, force=True)
    if result.bad.num_rows > contract.max_quarantined * records.num_rows:
        kept = lake.uri(Dataset(Layer.QUARANTINE, topic).on(day))
        raise DataError(
            f"{where}: {describe(result.worst, records)}; {result.bad.num_rows} rows in quarantine are more than "
            f"{contract.max_quarantined:.0%}: correct the source, or the contract if these rows are right; see {kept}"
        )
    lake.publish(partition, {"rows.parquet": result.good}, inputs=made_by, force=force)
    return Extracted(partition, result.good.num_rows, result.bad.num_rows, counts(result.breaches))


if __name__ == "__main__":
    main(ExtractArguments, extract)
