"""timetable.yaml: what is read, and what is said of one that is wrong."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path

import pytest

from include.errors import SettingsError
from include.ingestion.timetable import load_timetable, read_timetable
from include.use_case import load_use_case
from include.use_cases.flight_delay.spec import SPEC
from tests.use_case_copy import copied

SHIFTS = '{first: "00:20", last: "10:20", every: 2 h, duration: 15 min, zone: UTC}'
WORKER = f"  - {{name: w, topic: a1, writes: t, shifts: {SHIFTS}}}"
REST = "nightly_training: {at_most: 1 h}"


def test_the_shifts_are_the_ones_that_were_given() -> None:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    one, two = timetable.workers
    assert (one.name, one.topic, one.writes) == ("worker_1", "a1", "weather_observations")
    assert one.shifts.clock_times == tuple(time(hour, 20) for hour in (0, 2, 4, 6, 8, 10))
    assert one.shifts.duration == timedelta(minutes=15)
    assert (two.name, two.topic, two.writes) == ("worker_2", "a2", "flights")
    assert two.shifts.clock_times == (time(0), time(4), time(8))
    assert two.shifts.duration == timedelta(hours=1)


def test_the_clocks_are_those_of_the_use_case() -> None:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    assert {worker.shifts.zone for worker in timetable.workers} == {SPEC.timezone}


def test_scoring_asks_for_a_horizon_that_the_use_case_has() -> None:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    assert timetable.scoring is not None
    assert SPEC.horizon(timetable.scoring.horizon).name == "two_hours"


def test_each_worker_has_a_topic_and_its_table() -> None:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    topics = load_use_case(SPEC.package).part("streams")
    for worker in timetable.workers:
        assert topics.STREAMS[worker.topic].table == worker.writes


def test_a_use_case_without_a_timetable_has_none(tmp_path: Path) -> None:
    with copied(tmp_path, {"timetable.yaml": None}) as package:
        assert load_timetable(package) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"workers:\n{WORKER.replace(chr(34), '')}\n{REST}", "workers.0.shifts.last: 620 is not a time of day"),
        (f"workers:\n{WORKER}\n{WORKER}\n{REST}", "two workers have one name: w, w"),
        (
            f"workers:\n{WORKER}\nscoring: {{name: s, follows: v, horizon: h, ahead: 2 h, at_most: 1 h}}\n{REST}",
            "scoring follows 'v', which is none of w",
        ),
        (
            f"workers:\n{WORKER}\nscoring: {{name: w, follows: w, horizon: h, ahead: 2 h, at_most: 1 h}}\n{REST}",
            "scoring and a worker have one name: w",
        ),
        (f"wokers: []\n{REST}", "wokers: Extra inputs are not permitted"),
        ("workers: []", "nightly_training: Field required"),
        ("workers: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_the_reason(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "timetable.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        read_timetable(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
