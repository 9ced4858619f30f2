from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.ingestion.collector import Lateness, Publication, TimedRecord, message, publications, within
from include.ingestion.streams import EVENT_TIME
from include.settings import Settings
from include.use_cases.flight_delay.sources import sample
from include.use_cases.flight_delay.streams import FLIGHT_STREAM, STREAMS, WEATHER_STREAM, events

pytestmark = pytest.mark.slow

START = datetime(2013, 3, 9, 5, tzinfo=UTC)
SPAN = timedelta(hours=36)


@cache
def source(weeks: int | None = None) -> object:
    return sample(Settings(replay_weeks=weeks))


@cache
def day_of(topic: str, day: date, lateness: Lateness, weeks: int | None = None) -> list[Publication]:
    return publications(STREAMS[topic], events(source(weeks), topic, day), lateness)  # type: ignore[arg-type]


def published(topic: str, lateness: Lateness, *cuts: timedelta, weeks: int | None = None) -> list[bytes]:
    """A span's messages, published in pieces."""
    bounds = [START, *(START + cut for cut in sorted(cuts)), START + SPAN]
    moved = timedelta(weeks=weeks or 0)
    found: list[bytes] = []
    for since, until in pairwise(bounds):
        due = within(lambda day: day_of(topic, day, lateness, weeks), since + moved, until + moved)
        found += [message(STREAMS[topic], {**event.record, EVENT_TIME: event.at}).value for event in due]
    return found


@given(st.lists(st.integers(0, int(SPAN.total_seconds())), max_size=4))
@settings(max_examples=15, deadline=None)
def test_however_a_span_is_cut_the_same_is_published(cuts: list[int]) -> None:
    lateness = Lateness(rate=0.3)
    whole = published("a1", lateness)
    assert published("a1", lateness, *(timedelta(seconds=cut) for cut in cuts)) == whole
    assert len(whole) > 100


def test_a_seed_says_exactly_what_is_late() -> None:
    assert published("a2", Lateness(seed=1)) == published("a2", Lateness(seed=1))
    assert published("a2", Lateness(seed=1)) != published("a2", Lateness(seed=2))
    assert sorted(published("a2", Lateness(seed=1))) != published("a2", Lateness(seed=1))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_the_set_share_of_records_is_late_and_so_out_of_order(rate: float) -> None:
    lateness = Lateness(rate=rate)
    day = day_of("a2", date(2013, 3, 9), lateness)
    late = [release for release in day if release.moment > release.at]
    assert len(late) / len(day) == pytest.approx(rate, abs=0.03)
    assert all(release.moment - release.at < timedelta(hours=3) for release in late)
    times = [FLIGHT_STREAM.decode(value)[EVENT_TIME] for value in published("a2", lateness)]
    assert (times == sorted(times)) == (rate == 0)


def test_a_flight_is_known_ahead_then_departed_then_landed() -> None:
    of_flight: dict[str, list[TimedRecord]] = {}
    for event in events(source(), "a2", date(2013, 3, 9)):  # type: ignore[arg-type]
        of_flight.setdefault(event.record["flight_id"], []).append(event)
    for known in of_flight.values():
        planned, *later = known
        departure = planned.record["scheduled_departure"]
        assert planned.at <= departure - timedelta(hours=24)
        assert planned.record["dep_delay"] is None
        assert all(event.record["arr_delay"] is None for event in known if event.at < departure)
        assert [event.at for event in known] == sorted(event.at for event in known)
        assert len(later) <= 2
    assert {len(known) for known in of_flight.values()} >= {1, 3}


def test_whole_weeks_later_the_same_records_come_on_the_same_weekdays() -> None:
    lateness = Lateness(rate=0.0)
    then, now = published("a1", lateness), published("a1", lateness, weeks=52)
    assert len(then) == len(now)
    pairs = [(WEATHER_STREAM.decode(old), WEATHER_STREAM.decode(new)) for old, new in zip(then, now, strict=True)]
    for old, new in pairs:
        assert _moment(new) - _moment(old) == timedelta(weeks=52)
        assert (old["origin"], old["temperature"]) == (new["origin"], new["temperature"])


def _moment(record: dict[str, str]) -> datetime:
    return datetime.fromisoformat(record["observed_at"])
