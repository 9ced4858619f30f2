"""What a run may learn from: only what was known when its cutoff was over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.portable_model import InputKind
from include.errors import DataError, SettingsError
from include.modelling.examples import folds, ingredients, load
from include.modelling.inputs import Input, encode
from include.step import Context
from include.storage.lake import Dataset, Lake
from include.use_cases.flight_delay.label import labels
from include.use_cases.flight_delay.spec import SPEC
from tests.include import learning

DAY = date(2013, 9, 30)


@given(history=st.integers(14, 400), count=st.integers(1, 5), holdout=st.integers(1, 30))
def test_no_fold_is_judged_on_a_day_it_was_fitted_on(history: int, count: int, holdout: int) -> None:
    spec = replace(SPEC, holdout_days=holdout)
    first_day = DAY - timedelta(days=history)
    if history < holdout:
        with pytest.raises(DataError, match="too few"):
            folds(spec, first_day, DAY, count)
        return

    found = folds(spec, first_day, DAY, count)

    assert found[-1].last == DAY
    assert all(fold.fit_through + timedelta(days=1) == fold.first for fold in found)
    assert all((fold.last - fold.first).days == holdout - 1 for fold in found)
    assert all(first_day <= fold.fit_through for fold in found)
    assert [fold.first for fold in found] == sorted(fold.first for fold in found)


class EveryDay:
    """A lake in which runs of older days have left theirs."""

    def days(self, _: Dataset) -> list[date]:
        return [DAY - timedelta(days=ago) for ago in range(SPEC.history_days + 30, -2, -1)]

    def require(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(sha256="same")


def test_what_runs_of_older_days_left_is_not_learned_from() -> None:
    made_of = ingredients(cast(Lake, EveryDay()), SPEC, DAY)
    oldest = DAY - timedelta(days=SPEC.history_days)
    alone = {h.name: (oldest + timedelta(days=h.day_offset), DAY) for h in SPEC.horizons}
    assert {name: (days[0], days[-1]) for name, days in made_of.features.items()} == alone


def flights(**arrived: datetime | None) -> pa.Table:
    """Flights that were 16 minutes late, by their id."""
    times = pa.array(list(arrived.values()), pa.timestamp("us", tz="UTC"))
    return pa.table({"flight_id": list(arrived), "arrived_at": times, "arr_delay": [16.0] * len(arrived)})


def test_a_flight_in_the_air_at_the_end_of_the_day_has_no_label_yet() -> None:
    over = SPEC.day_end(DAY)
    table = flights(landed=over, in_the_air=over + timedelta(seconds=1), cancelled=None)

    assert labels(table, over)["flight_id"].tolist() == ["landed"]
    assert labels(table, over + timedelta(days=1))["flight_id"].tolist() == ["landed", "in_the_air"]


def test_late_is_more_than_fifteen_minutes_and_diverted_is_nothing() -> None:
    moment = datetime(2013, 9, 30, 12, tzinfo=UTC)
    table = flights(early=moment, edge=moment, late=moment, diverted=moment)
    table = table.set_column(2, "arr_delay", pa.array([-20.0, 15.0, 15.5, None]))

    expected = pd.DataFrame({"flight_id": ["early", "edge", "late"], "label": [0.0, 0.0, 1.0]})
    pd.testing.assert_frame_equal(labels(table, moment), expected)


def test_known_rows_come_first_and_hold_no_later_day(tmp_path: Path) -> None:
    context = learning.context(tmp_path, None)
    learning.fill(context.lake)
    cutoffs = [date(2026, 5, 20), date(2026, 6, 1), learning.LAST]

    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)
    examples = load(context, made_of, ("forecast", "sold_out_rate"), ("kiosk",), cutoffs)

    for cutoff in cutoffs:
        days = examples.days[: examples.known[cutoff]]
        assert days.max() == np.datetime64(cutoff)
        assert len(days) == learning.KIOSKS * (cutoff - made_of.first_day + timedelta(days=1)).days
    assert examples.known[learning.LAST] == len(examples.labels) == examples.matrix.shape[0] == examples.rows.num_rows


def test_rows_inputs_and_labels_stay_together_through_the_sorting(tmp_path: Path) -> None:
    context = learning.context(tmp_path, None)
    learning.fill(context.lake)
    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)
    examples = load(context, made_of, ("forecast",), (), [date(2026, 5, 20), learning.LAST])

    read = {}
    for day in made_of.features["morning"]:
        rows = context.lake.read(learning.FEATURES.on(day)).join(context.lake.read(learning.SALES.on(day)), "kiosk_day")
        for row in rows.to_pylist():
            read[row["kiosk_day"]] = (row["forecast"], float(row["sold_out"]))
    found = zip(examples.matrix[:, 0].tolist(), examples.labels.tolist(), strict=True)
    assert dict(zip(examples.rows["kiosk_day"].to_pylist(), found, strict=True)) == read


def test_what_is_published_meanwhile_is_not_learned_from(tmp_path: Path) -> None:
    # Given what a run learns from, and a day that another run publishes again after that
    context = learning.context(tmp_path, None)
    learning.fill(context.lake)
    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)
    before = load(context, made_of, ("forecast",), (), [learning.LAST])
    for dataset in (learning.FEATURES, learning.SALES):
        table = context.lake.read(dataset.on(learning.LAST)).slice(5)
        context.lake.publish(dataset.on(learning.LAST), {"rows.parquet": table}, force=True)

    # Then it learns from what its hashes name
    after = load(context, made_of, ("forecast",), (), [learning.LAST])
    assert after.rows.equals(before.rows)
    assert made_of.hashes != ingredients(context.lake, context.use_case.spec, learning.LAST).hashes


def by_kiosk(folder: Path, labeller: Any) -> Context:
    """Ice cream whose key is the kiosk, which comes every day, and whose labels are given."""
    context = learning.context(folder, None)
    learning.fill(context.lake)
    object.__setattr__(context.use_case, "spec", replace(context.use_case.spec, key="kiosk"))
    context.use_case.given["label"] = SimpleNamespace(labels=labeller)  # type: ignore[attr-defined]
    for day in context.lake.days(learning.SALES):  # a kiosk has one row a day
        for dataset in (learning.SALES, learning.FEATURES):
            table = context.lake.read(dataset.on(day)).slice(0, 3)
            context.lake.publish(dataset.on(day), {"rows.parquet": table}, force=True)
    return context


def sold_out(outcomes: pa.Table, *columns: str) -> pd.DataFrame:
    frame: pd.DataFrame = outcomes.select(["kiosk", *columns]).to_pandas()
    return frame.assign(label=outcomes["sold_out"].to_pandas())


@pytest.mark.slow
def test_a_key_that_comes_every_day_has_each_days_own_label(tmp_path: Path) -> None:
    context = by_kiosk(tmp_path, lambda outcomes, by: sold_out(outcomes, "date"))
    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)

    examples = load(context, made_of, ("forecast",), ("kiosk", "horizon"), [learning.LAST])

    # The key is a slice too: it is there once
    assert examples.rows.column_names == ["kiosk", "horizon", "date"]
    outcomes = context.lake.read_days(learning.SALES, made_of.outcomes)
    wanted = {(row["kiosk"], row["date"]): float(row["sold_out"]) for row in outcomes.to_pylist()}
    rows = zip(examples.rows.to_pylist(), examples.labels.tolist(), strict=True)
    assert {(row["kiosk"], row["date"]): label for row, label in rows} == {
        pair: label for pair, label in wanted.items() if pair[1] > made_of.first_day - timedelta(days=1)
    }


@pytest.mark.slow
def test_a_key_that_comes_every_day_needs_labels_that_say_which(tmp_path: Path) -> None:
    context = by_kiosk(tmp_path, lambda outcomes, by: sold_out(outcomes))
    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)

    with pytest.raises(DataError, match="kiosk comes on several days"):
        load(context, made_of, ("forecast",), (), [learning.LAST])


@pytest.mark.slow
def test_labels_of_other_examples_are_told(tmp_path: Path) -> None:
    # Given outcomes whose day is a year off, as a label.py may answer it
    def shifted(outcomes: pa.Table, by: datetime) -> pd.DataFrame:
        return sold_out(outcomes, "date").assign(date=pd.date_range("2020-01-01", periods=len(outcomes)))

    context = by_kiosk(tmp_path, shifted)
    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)

    with pytest.raises(DataError, match=r"none of \d+ labels .such as kiosk 0. belongs to one of \d+ examples"):
        load(context, made_of, ("forecast",), (), [learning.LAST])


@pytest.mark.parametrize("slice_", ["label", "probability"])
def test_a_slice_that_would_take_a_figures_name_is_refused(tmp_path: Path, slice_: str) -> None:
    context = learning.context(tmp_path, None)
    learning.fill(context.lake)
    made_of = ingredients(context.lake, context.use_case.spec, learning.LAST)

    with pytest.raises(SettingsError, match=f"slices name {slice_}"):
        load(context, made_of, ("forecast",), (slice_,), [learning.LAST])


def test_the_encoding_rule() -> None:
    table = pa.table({"hour": [7, None], "carrier": ["ZZ", "UA"], "rainy": [True, None]})
    inputs = (Input("hour"), Input("carrier", InputKind.CATEGORY, ("AA", "UA")), Input("rainy"))

    np.testing.assert_array_equal(encode(table, inputs), [[7, np.nan, 1], [np.nan, 1, np.nan]])
    with pytest.raises(DataError, match="column gust is missing"):
        encode(table, (Input("gust"),))
