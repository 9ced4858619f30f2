"""extract: what another contract or other source code sorted is read again, as far as the source has it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from formats.manifest import Manifest
from include import identity
from include.errors import DataError
from include.quality.contract import Column, Kind
from include.step import Context, Result
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Layer
from tests.small_case import DAY, SALES, Tables, changed, sales, small_context

RAW = Dataset(Layer.RAW, "sales")
PLANS = Dataset(Layer.RAW, "plans")
LOWER: dict[str, Any] = {"columns": tuple(replace(c, maximum=18) if c.name == "amount" else c for c in SALES.columns)}
"""The sales contract with a bound that one row of each day breaks."""


def run(context: Context, day: date = DAY, **further: Any) -> Result:
    return extract(context, ExtractArguments(use_case="tests.small_case", date=day, **further))


def manifests(context: Context, dataset: Dataset) -> dict[date, Manifest]:
    return context.lake.manifests(dataset, context.lake.days(dataset))


def rewrite(context: Context, dataset: Dataset, day: date, inputs: dict[str, str]) -> None:
    manifest = replace(context.lake.require(dataset.on(day)), inputs=inputs)
    context.lake.store.replace(f"small/{dataset.on(day)}/_manifest.json", manifest.to_json())


def test_another_contract_sorts_the_whole_history_again_and_that_of_no_other_topic(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a history that was sorted by a contract
    caplog.set_level(logging.INFO)
    run(small_context(tmp_path))
    source = Tables()
    context = small_context(tmp_path, source, **LOWER)
    before = manifests(context, PLANS)

    # When the next night runs with another one
    result = run(context, DAY + timedelta(days=1))

    # Then every day of the run's history follows it, in one go
    days = [DAY + timedelta(days=n) for n in range(-4, 2)]
    assert [day for topic, day in source.reads if topic == "sales"] == days
    assert {day: manifest.rows for day, manifest in manifests(context, RAW).items() if day in days} == dict.fromkeys(
        days, 19
    )
    assert context.lake.read(Dataset(Layer.QUARANTINE, "sales").on(days[0])).num_rows == 1
    assert manifests(context, PLANS).items() >= before.items()
    assert "extract: 5 raw partitions are out of date (another contract: 5) and read again" in caplog.messages
    assert result.facts["partitions_read"] == 5 + 2


def test_a_run_that_is_killed_on_the_way_is_finished_by_the_next(tmp_path: Path) -> None:
    run(small_context(tmp_path))
    # Given a source that fails in the middle of the history
    source = Tables()
    source.given["sales", DAY - timedelta(days=1)] = sales(DAY - timedelta(days=1)).drop_columns(["shop"])
    with pytest.raises(DataError):
        run(small_context(tmp_path, source, **LOWER))

    # When it is there again
    context = small_context(tmp_path, **LOWER)
    run(context)
    calm = small_context(tmp_path / "calm", **LOWER)
    run(calm)

    # Then all is as if it had been sorted so from the start
    assert manifests(context, RAW) == manifests(calm, RAW)


def test_once_read_again_nothing_is_read_any_more(tmp_path: Path) -> None:
    run(small_context(tmp_path))
    run(small_context(tmp_path, **LOWER))
    source = Tables()
    assert run(small_context(tmp_path, source, **LOWER)).facts["partitions_read"] == 0
    assert source.reads == []


def test_what_only_judges_a_day_reads_nothing_again(tmp_path: Path) -> None:
    run(small_context(tmp_path))
    judged = small_context(tmp_path, max_nulls={}, min_rows=2, freshness=None)
    assert run(judged).facts["partitions_read"] == 0


def test_other_source_code_reads_every_topic_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(small_context(tmp_path))
    monkeypatch.setattr(identity, "fingerprint", lambda *_, **__: "the sources.py of today")
    assert run(small_context(tmp_path)).facts["partitions_read"] == 13


class Moved(Tables):
    """A source whose rows a setting decides."""

    def __init__(self, configured: str) -> None:
        super().__init__()
        self.configured = configured


def test_another_setting_of_the_source_reads_every_topic_again_there_and_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(small_context(tmp_path))

    assert run(small_context(tmp_path, Moved(""))).facts["partitions_read"] == 0
    assert run(small_context(tmp_path, Moved("weeks 52"))).facts["partitions_read"] == 13
    assert "extract: 13 raw partitions are out of date (another setting: 13) and read again" in caplog.messages
    assert run(small_context(tmp_path, Moved("weeks 52"))).facts["partitions_read"] == 0
    assert run(small_context(tmp_path, Moved("weeks 104"))).facts["partitions_read"] == 13
    assert run(small_context(tmp_path)).facts["partitions_read"] == 13


class Purged(Tables):
    """A source that has lost days, in one of the ways that sources have."""

    def __init__(self, first: date, way: str) -> None:
        super().__init__()
        self.first, self.way = first, way
        if way == "says so":
            self.first_day = first

    def read(self, topic: str, day: date) -> pa.Table:
        table = super().read(topic, day)
        if day >= self.first:
            return table
        assert self.way != "says so"
        if self.way == "has no file":
            raise DataError(f"source: {topic}-{day}.csv is not there; deliver it, or correct the path")
        return table.slice(0, 0)


@pytest.mark.parametrize("way", ["says so", "has no file", "answers without a row"])
def test_days_that_the_source_has_no_more_stay_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    # Given a history of which the source keeps the last three days
    caplog.set_level(logging.INFO)
    run(small_context(tmp_path))
    first = DAY - timedelta(days=2)
    context = small_context(tmp_path, Purged(first, way), **LOWER, min_rows=0)

    # When the contract is another
    run(context)

    # Then those follow it, and the others are as they were
    rows = {day: manifest.rows for day, manifest in manifests(context, RAW).items()}
    assert {rows[day] for day in rows if day >= first} == {19}
    assert {rows[day] for day in rows if day < first} == {20}
    assert "no more" in caplog.text
    assert ("stay" in caplog.text) and "2" in caplog.text


def test_what_breaks_the_new_contract_stops_the_run_and_keeps_what_was_there(tmp_path: Path) -> None:
    run(small_context(tmp_path))
    columns = (*SALES.columns, Column("till", Kind.TEXT))
    context = small_context(tmp_path, columns=columns)

    with pytest.raises(DataError, match="till"):
        run(context)

    assert {manifest.rows for manifest in manifests(context, RAW).values()} == {20}


def test_an_older_releases_partitions_are_taken_as_they_are_in_one_line_until_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given partitions that do not say what sorted them
    context = small_context(tmp_path)
    run(context)
    for dataset in (RAW, PLANS):
        for day in context.lake.days(dataset):
            rewrite(context, dataset, day, {})

    # When a night runs, nothing is read again, and that is said once
    assert run(context).facts["partitions_read"] == 0
    told = [message for message in caplog.messages if "do not say which contract" in message]
    assert len(told) == 1
    assert told[0].startswith("extract: 13 raw partitions do not say which contract sorted them")

    # Until the history is renewed, in one go
    caplog.clear()
    result = run(context, renew=True)
    assert result.facts["partitions_read"] == 13
    assert run(context).facts["partitions_read"] == 0
    assert "do not say" not in caplog.text


def test_a_damaged_manifest_gives_way_to_force_and_renewal(tmp_path: Path) -> None:
    furthers: list[dict[str, Any]] = [{"force": True}, {"renew": True}]
    for further in furthers:
        context = small_context(tmp_path / str(further))
        run(context)
        context.lake.store.replace(f"small/{RAW.on(DAY)}/_manifest.json", b"{")
        run(context, **further)
        assert context.lake.require(RAW.on(DAY)).rows == 20


def test_a_changed_row_is_read_again_with_the_history_of_its_day_only_when_asked(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    run(context)
    source = Tables()
    yesterday = DAY - timedelta(days=1)
    source.given["sales", yesterday] = changed(sales(yesterday), "amount", {0: 5.0})
    mended = small_context(tmp_path, source)
    before = mended.lake.require(RAW.on(yesterday))

    run(mended)
    assert mended.lake.require(RAW.on(yesterday)) == before
    run(mended, renew=True)
    assert mended.lake.require(RAW.on(yesterday)) != before
