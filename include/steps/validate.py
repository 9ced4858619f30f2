"""validate: the gate between data and model; a hard failure stops the night."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from formats.manifest import Manifest
from formats.partition import day_folder
from include import identity
from include.errors import DataError
from include.quality.breaches import Breach, examples, judge, of_another_day
from include.quality.contract import Contract, check_references
from include.quality.data_day import Calendar, DataDay
from include.quality.findings import MISSING, Check, Finding, QualityReport, Severity
from include.quality.reading import read_as
from include.step import Context, Result, StepArguments, main
from include.storage.lake import Dataset, Lake, Layer, Partition, to_json
from include.use_case import UseCase

if TYPE_CHECKING:
    from include.quality.inspection import Inspection

TRAILING_DAYS = 28
FEWEST_TRAILING_DAYS = 3
REPORT = "report.json"
WARNINGS_SHOWN = 5
WARNING_LENGTH = 300

log = logging.getLogger("nightshift")


class ValidateArguments(StepArguments):
    """Command-line arguments of validate."""


@dataclass(frozen=True)
class Subject:
    """A dataset to validate: this run's partition and, by their hashes, the published days before it.

    `tolerated` is the share of a day's rows that may break a row rule: none in raw data (they went to quarantine),
    the contract's `max_quarantined` in features (nothing sorts those). `fewest` is how many rows it must have: the
    contract's `min_rows`, less the rows in quarantine, and of features no more than there are examples.
    """

    own: Partition
    contract: Contract
    days: Mapping[date, Manifest]
    tolerated: float
    fewest: int

    @property
    def name(self) -> str:
        """The dataset's name among reports and on the site."""
        return f"{self.own.dataset.layer}-{self.own.dataset.name}"

    @property
    def report(self) -> Partition:
        """The partition of its report."""
        return Dataset(Layer.QUALITY, self.name).on(self.own.day)

    def made_from(self, lake: Lake) -> dict[str, str]:
        """The inputs of its report: the partition, the contract, and the partitions that it refers to."""
        refers = [Dataset(self.own.dataset.layer, rule.other).on(self.own.day) for rule in self.contract.references]
        others = {str(one): manifest.sha256 for one in refers if (manifest := lake.manifest(one))}
        contract = identity.digest(self.contract, without=("note",))
        return {str(self.own): self.days[self.own.day].sha256, identity.CONTRACT: contract} | others

    def usual_rows(self, day: date) -> float | None:
        """The median row count of the published days shortly before `day`; None if there are too few."""
        before = [self.days[each].rows for each in _trailing(day) if each in self.days]
        return float(statistics.median(before)) if len(before) >= FEWEST_TRAILING_DAYS else None


def validate(context: Context, arguments: ValidateArguments) -> Result:
    """Check this run's raw and feature partitions, and history that no run has checked, against their contracts.

    Findings are published as `quality/<layer>-<name>/data_day=…/report.json` and as Data Docs. Raises `DataError` with
    rule, column, row count and examples if one of them is hard; soft ones are in the result's `warnings`.
    """
    lake = context.lake
    subjects = list(_subjects(context.use_case, lake, arguments.date))
    reports = {} if arguments.force else _passed_before(lake, subjects)
    waiting = [subject for subject in subjects if subject.name not in reports]
    docs = f"data_docs/{day_folder(arguments.date)}/index.html"
    if waiting:
        log.info("validate: %d datasets; loading Great Expectations", len(waiting))
        from include.quality.inspection import Inspection

        with tempfile.TemporaryDirectory(prefix="data_docs-") as folder:
            inspection = Inspection(arguments.date, Path(folder))
            for subject in waiting:
                reports[subject.name] = _inspect(inspection, lake, context.use_case, subject)
            every = [reports[subject.name] for subject in subjects]
            inspection.publish(lake, context.use_case.spec.title, every)
    return _result(subjects, reports, lake.store.uri(f"{lake.prefix}/{docs}"))


def _result(subjects: Sequence[Subject], reports: Mapping[str, QualityReport], docs: str) -> Result:
    found = [reports[subject.name] for subject in subjects]
    failures = [finding for report in found for finding in report.failures]
    warnings = [finding for report in found for finding in report.warnings]
    for warning in warnings:
        log.warning("validate: warning: %s", warning)
    for failure in failures:
        log.error("validate: failure: %s", failure)
    if failures:
        more = f" (and {len(failures) - 1} more failures)" if len(failures) > 1 else ""
        raise DataError(f"{failures[0]}{more}; nothing downstream runs, see {docs}")
    return Result(
        rows={str(subject.own.dataset): reports[subject.name].rows for subject in subjects},
        metrics={"checks": sum(report.checks for report in found), "warnings": len(warnings)},
        uris={"data_docs": docs},
        facts={
            "history_days": max(report.history_days for report in found),
            "history_rows": sum(report.history_rows for report in found),
            "warnings": [str(warning)[:WARNING_LENGTH] for warning in warnings[:WARNINGS_SHOWN]],
        },
    )


def _subjects(use_case: UseCase, lake: Lake, day: date) -> Iterator[Subject]:
    """Raw topics, then features of each horizon, with what the lake has of the run's range."""
    spec = use_case.spec
    first = day - timedelta(days=spec.history_days + spec.lookback_days)
    raw = use_case.contracts
    features: Contract = use_case.part("feature_contract").FEATURES
    check_references(raw)
    for topic in spec.topics:
        own = Dataset(Layer.RAW, topic.name).on(day + timedelta(days=topic.day_offset))
        contract, set_apart = raw[topic.name], _rows(lake, Dataset(Layer.QUARANTINE, topic.name).on(own.day))
        fewest = contract.min_rows - (set_apart or 0)
        yield Subject(own, contract, _published(lake, own, first), tolerated=0.0, fewest=fewest)
    for horizon in spec.horizons:
        own = Dataset(Layer.FEATURES, horizon.name).on(day + timedelta(days=horizon.day_offset))
        examples = _rows(lake, Dataset(Layer.RAW, spec.examples).on(own.day))
        fewest = features.min_rows if examples is None else min(features.min_rows, examples)
        days = _published(lake, own, first)
        yield Subject(own, features, days, tolerated=features.max_quarantined, fewest=fewest)


def _rows(lake: Lake, partition: Partition) -> int | None:
    """How many rows a partition has; None where it is not published."""
    manifest = lake.manifest(partition)
    return manifest.rows if manifest else None


def _published(lake: Lake, own: Partition, first: date) -> Mapping[date, Manifest]:
    lake.require(own)
    return lake.manifests(own.dataset, [day for day in lake.days(own.dataset) if first <= day <= own.day])


def _passed_before(lake: Lake, subjects: Sequence[Subject]) -> dict[str, QualityReport]:
    """The reports of subjects that passed with exactly these bytes and this contract."""
    passed = {}
    for subject in subjects:
        manifest = lake.manifest(subject.report)
        if manifest and subject.made_from(lake).items() <= manifest.inputs.items():
            report = QualityReport.from_dict(json.loads(lake.read_file(subject.report, REPORT)))
            if not report.failures:
                passed[subject.name] = report
    return passed


def _inspect(inspection: Inspection, lake: Lake, use_case: UseCase, subject: Subject) -> QualityReport:
    """Validate a subject and publish its report."""
    clock, before = time.monotonic(), inspection.checks
    history = _unseen(lake, subject)
    table = lake.read(subject.own)
    findings = _day_findings(inspection, lake, use_case, subject, table)
    rows = 0
    if history and not any(finding.check in (Check.TYPE, Check.COLUMNS) for finding in findings):
        found, rows = _history_findings(inspection, lake, use_case.spec, subject, history)
        findings += found
    checks = inspection.checks - before
    report = QualityReport(str(subject.own), table.num_rows, len(history), rows, checks, tuple(findings))
    seen = {str(subject.own.dataset.on(day)): subject.days[day].sha256 for day in history}
    seen |= subject.made_from(lake)
    # Replaced: these findings are newer than any that are there.
    lake.publish(subject.report, {REPORT: to_json(report.to_dict())}, inputs=seen, force=True)
    older = f" and {rows} rows of {len(history)} older days that no run had looked at" if history else ""
    seconds = time.monotonic() - clock
    log.info(
        "validate: %s: %d rows%s, %d checks, %d findings, %.1f s",
        *(subject.own, table.num_rows, older, checks, len(findings), seconds),
    )
    return report


def _unseen(lake: Lake, subject: Subject) -> list[date]:
    """The published days before this run's that no other report covers with exactly these bytes and this contract."""
    dataset = subject.report.dataset
    others = [day for day in lake.days(dataset) if day != subject.own.day]
    contract = subject.made_from(lake)[identity.CONTRACT]
    reports = [each.inputs for each in lake.manifests(dataset, others).values()]
    seen = {item for inputs in reports if inputs.get(identity.CONTRACT) == contract for item in inputs.items()}
    return [
        day
        for day, manifest in subject.days.items()
        if day != subject.own.day and (str(subject.own.dataset.on(day)), manifest.sha256) not in seen
    ]


def _day_findings(
    inspection: Inspection, lake: Lake, use_case: UseCase, subject: Subject, table: pa.Table
) -> list[Finding]:
    from include.quality.expectations import DayFacts, arrow_types, day_expectations, schema_expectations
    from include.quality.judged import judged

    contract = subject.contract
    types = pd.DataFrame(arrow_types(contract, table.schema))
    inspection.record(f"{subject.name}-types", types, schema_expectations(), index=("column",))
    if not types["type"].equals(types["expected"]):
        return list(_mistyped(subject.name, types, table.num_rows))
    data_day = DataDay.of(use_case.spec, subject.own.day)
    frame = judged(contract, table, data_day).assign(**_references(lake, subject, table))
    facts = DayFacts(subject.usual_rows(subject.own.day), data_day, subject.fewest)
    return inspection.findings(subject.name, frame, day_expectations(contract, facts, subject.tolerated))


def _mistyped(name: str, types: pd.DataFrame, rows: int) -> Iterator[Finding]:
    for column, given, expected in types[types["type"] != types["expected"]].itertuples(index=False):
        check = Check.COLUMNS if MISSING in (given, expected) else Check.TYPE
        told = f"in the lake it is {given}, in the contract {expected}: publish it again with --force"
        yield Finding(name, check, column, Severity.HARD, rows, rows, told)


def _references(lake: Lake, subject: Subject, table: pa.Table) -> dict[str, pd.Series]:
    """For each reference a column of the values that the other topic lacks, null elsewhere."""
    from include.quality.expectations import reference_column
    from include.quality.judged import breaking

    found = {}
    for rule in subject.contract.references:
        other = lake.read(Dataset(subject.own.dataset.layer, rule.other).on(subject.own.day), [rule.other_column])
        values, known = table[rule.column], other[rule.other_column]
        if known.type != values.type:  # the other topic reports that itself
            known = pa.nulls(0, values.type)
        lacking = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, known)))
        found[reference_column(rule.column, rule.other)] = breaking(values, lacking.to_numpy())
    return found


def _history_findings(
    inspection: Inspection, lake: Lake, calendar: Calendar, subject: Subject, days: Sequence[date]
) -> tuple[list[Finding], int]:
    """Findings for many days at once: shares of rows per rule and rows per day, in vectorised checks."""
    from include.quality.expectations import history_expectations, volume_expectations

    name, contract = f"{subject.name}-history", subject.contract
    ruled = [column for column in contract.columns if column.ruled or column is contract.day_column]
    table = lake.read_days(subject.own.dataset, days, [column.name for column in ruled])
    breaches = [breach for column in ruled for breach in judge(column, table[column.name].combine_chunks())[1]]
    found = [_of_breach(name, breach, table, subject.tolerated) for breach in breaches]
    shares = [(str(one.check), one.column, one.broken / one.rows) for one in found]
    shares += [("any", column.name, 0.0) for column in ruled if column.name not in {one.column for one in found}]
    rules = pd.DataFrame(shares, columns=["rule", "column", "share"])
    inspection.record(name, rules, history_expectations(subject.tolerated), index=("rule", "column"))
    volumes = pd.DataFrame(_volumes(subject, days), columns=["day", "rows", "ratio"]).astype({"ratio": float})
    inspection.record(f"{subject.name}-volume", volumes, volume_expectations(contract), index=("day", "rows"))
    found += _of_other_days(name, calendar, subject, table, days)
    return found + list(_unusual(f"{subject.name}-volume", volumes, contract)), table.num_rows


def _of_other_days(
    name: str, calendar: Calendar, subject: Subject, table: pa.Table, days: Sequence[date]
) -> Iterator[Finding]:
    """Rows of older partitions that belong to another day: a warning, because a lake may be older than the rule."""
    if (column := subject.contract.day_column) is None:
        return
    values = read_as(table[column.name].combine_chunks(), column.kind)[0]
    places = accumulate((subject.days[day].rows for day in days), initial=0)
    breaches = {
        day: next(of_another_day(column, values.slice(place, subject.days[day].rows), DataDay.of(calendar, day)), None)
        for day, place in zip(days, places, strict=False)
    }
    odd = {day: int(breach.rows.sum()) for day, breach in breaches.items() if breach}
    if odd:
        shown = tuple(f"{rows} of the rows in {day}" for day, rows in odd.items())[:3]
        expected = "of their partition's day; deliver those days again, then run extract for each with --force"
        broken = sum(odd.values())
        yield Finding(name, Check.DAY, column.name, Severity.SOFT, table.num_rows, broken, expected, shown)


def _of_breach(name: str, breach: Breach, table: pa.Table, tolerated: float) -> Finding:
    count = int(breach.rows.sum())
    severity = Severity.HARD if count > tolerated * table.num_rows else Severity.SOFT
    check = Check(breach.rule)
    return Finding(name, check, breach.column, severity, table.num_rows, count, breach.reason, examples(breach, table))


def _volumes(subject: Subject, days: Sequence[date]) -> Iterator[tuple[str, int, float | None]]:
    for day in days:
        rows, usual = subject.days[day].rows, subject.usual_rows(day)
        yield str(day), rows, rows / usual if usual else None


def _unusual(name: str, volumes: pd.DataFrame, contract: Contract) -> Iterator[Finding]:
    low, high = contract.volume_band
    odd = volumes[(volumes["ratio"] < low) | (volumes["ratio"] > high)]
    if len(odd):
        shown = tuple(f"{day} with {rows} rows" for day, rows in zip(odd["day"], odd["rows"], strict=True))[:3]
        expected = f"each day should have {low:g} to {high:g} times the median rows of the days before it"
        yield Finding(name, Check.VOLUME, "", Severity.SOFT, len(volumes), len(odd), expected, shown)


def _trailing(day: date) -> list[date]:
    return [day - timedelta(days=back) for back in range(1, TRAILING_DAYS + 1)]


if __name__ == "__main__":
    main(ValidateArguments, validate)
