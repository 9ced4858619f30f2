"""Labels: each example finds its own, and what cannot be learned from is told before anything is learned."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.errors import DataError
from include.modelling.labels import ExampleIndex, Labels
from include.modelling.tasks.binary import BinaryTask

BY = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = date(2026, 5, 1)
OUTCOMES = pa.table({"kiosk": ["Arno", "Brera", "Arno"], "date": [FIRST, FIRST, FIRST + timedelta(days=1)]})


def known(**columns: Any) -> Labels:
    """What is made of a label.py that answers these columns of `OUTCOMES`."""
    return Labels.known(lambda outcomes, by: pd.DataFrame(columns), OUTCOMES, BY, "kiosk", BinaryTask())


def index(*rows: tuple[str, date]) -> ExampleIndex:
    keys, days = zip(*rows, strict=True) if rows else ((), ())
    return ExampleIndex(pa.chunked_array([list(keys)], pa.string()), np.array(days, "datetime64[D]"), "kiosk")


named = st.tuples(st.sampled_from(["a", "b", "c"]), st.dates(date(1, 1, 1), date(9999, 12, 31)))
near = st.tuples(st.sampled_from(["a", "b", "c"]), st.dates(FIRST, FIRST + timedelta(days=3)))


@given(st.lists(named | near), st.dictionaries(named | near, st.sampled_from([0.0, 1.0]), min_size=1))
def test_each_example_finds_the_label_of_its_key_and_day(
    examples: list[tuple[str, date]], told: dict[tuple[str, date], float]
) -> None:
    keys, days = zip(*told, strict=True)
    labels = Labels(
        pa.array(keys, pa.string()),
        np.array(days, "datetime64[D]"),
        np.array(list(told.values()), np.float64),
        BinaryTask(),
    )

    there, values = index(*examples).labelled(labels)

    expected = [told.get(example) for example in examples]
    assert [value if found else None for found, value in zip(there, values.tolist(), strict=True)] == expected


@given(st.dictionaries(st.text("ab", max_size=3), near.map(lambda pair: pair[1])), st.data())
def test_where_a_key_is_that_of_one_day_only_labels_need_not_say_it(examples: dict[str, date], data: Any) -> None:
    told = data.draw(st.dictionaries(st.text("ab", max_size=3), st.sampled_from([0.0, 1.0]), min_size=1))
    labels = Labels(pa.array(list(told), pa.string()), None, np.array(list(told.values())), BinaryTask())

    # Each example twice, as two horizons have it
    there, values = index(*examples.items(), *examples.items()).labelled(labels)

    expected = [told.get(key) for key in examples] * 2
    assert [value if found else None for found, value in zip(there, values.tolist(), strict=True)] == expected


def test_a_key_of_several_days_without_a_day_is_refused() -> None:
    later = FIRST + timedelta(days=1)
    labels = known(kiosk=["Arno"], label=[1])

    with pytest.raises(
        DataError,
        match=r"label\.py: kiosk comes on several days .1 of 2 keys, such as Arno on 2026-05-01 and 2026-05-02",
    ):
        index(("Brera", FIRST), ("Arno", FIRST), ("Arno", later)).labelled(labels)


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ({}, r"in 1 of 3 rows \(such as Arno\) kiosk come twice"),
        ({"date": [FIRST] * 3}, r"\(such as Arno of 2026-05-01\) kiosk and date come twice"),
    ],
)
def test_a_label_that_comes_twice_is_refused(days: dict[str, Any], told: str) -> None:
    labels = known(kiosk=["Arno", "Brera", "Arno"], label=[0, 1, 1], **days)

    with pytest.raises(DataError, match=told):
        index(("Arno", FIRST), ("Brera", FIRST)).labelled(labels)


@pytest.mark.parametrize("answer", [[True, False], [1, 0], [1.0, 0.0], pd.array([True, False], "boolean")])
def test_a_label_is_a_flag_or_a_number(answer: Any) -> None:
    assert known(kiosk=["Arno", "Brera"], label=answer).values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "answer", [[1, None], [np.nan, 0.0], pd.array([True, None], "boolean"), pd.Series([False, None]), [None, None]]
)
def test_a_label_that_is_empty_is_refused_with_the_rows(answer: Any) -> None:
    with pytest.raises(DataError, match=r"label\.py: in [12] of 2 rows .*(Arno|Brera).*label is empty; leave"):
        known(kiosk=["Arno", "Brera"], label=answer)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"label": [1, 2]}, r"in 1 of 2 rows \(such as Brera\) label is neither 0 nor 1 \(2\)"),
        ({"label": [0.5, 1]}, r"\(such as Arno\) label is neither 0 nor 1 \(0.5\)"),
        ({"label": [float("inf"), 1]}, r"label is neither 0 nor 1 \(inf\)"),
        ({"label": ["yes", "no"]}, "column label holds string, such as yes; answer 0 or 1"),
        ({"label": [1, "no"]}, "column label mixes int, str; answer values of one type"),
        ({"label": [BY, BY]}, "column label holds timestamp"),
        ({"kiosk": [1, 2]}, "column kiosk holds int64, such as 1; answer text"),
        ({"kiosk": ["Arno", None]}, "in 1 of 2 rows .* kiosk is empty"),
        ({"kiosk": ["Arno", "BRERA"]}, r"in 1 of 2 rows \(such as BRERA\) kiosk is none of the outcomes'"),
        ({"date": ["today", "today"]}, "column date holds string, such as today; answer dates"),
        ({"date": [BY, BY]}, "column date holds timestamp.*; answer dates"),
        ({"date": [FIRST, None]}, r"\(such as Brera\) date is empty"),
    ],
)
def test_what_cannot_be_learned_from_is_named(columns: dict[str, Any], told: str) -> None:
    good: dict[str, Any] = {"kiosk": ["Arno", "Brera"], "label": [1, 0]}
    with pytest.raises(DataError, match=told):
        known(**good | columns)


@pytest.mark.parametrize("days", [["2026-05-01"] * 2, pd.to_datetime([FIRST] * 2), pd.Categorical(["2026-05-01"] * 2)])
def test_a_day_may_be_written_in_any_plain_way(days: Any) -> None:
    labels = known(kiosk=["Arno", "Brera"], label=[1, 0], date=days)
    assert labels.days is not None
    assert labels.days.tolist() == [FIRST, FIRST]


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match=r"answers the columns id, label; answer kiosk, label and.*not so: kiosk"):
        known(id=["Arno"], label=[1])
    with pytest.raises(DataError, match="answers a dict; answer a pandas DataFrame"):
        Labels.known(lambda outcomes, by: {}, OUTCOMES, BY, "kiosk", BinaryTask())
