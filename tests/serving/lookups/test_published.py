"""Following what the lake publishes."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from include.storage.lake import Dataset, Layer, Partition
from include.use_cases.flight_delay.serving.places import SHAPE
from serving.errors import NotFoundError, NotYetError
from serving.lookups.published import Published
from serving.settings import ServingSettings
from tests.factory import flight_id
from tests.published_lake import DAY, PublishedLake

FLIGHT = flight_id(DAY, 0)
ONE = datetime(2013, 10, 1, 5, tzinfo=UTC)
LATER = ONE + timedelta(hours=4)


class Gone(StrEnum):
    """How a lake goes away."""

    UNMOUNTED = "unmounted"
    REPLACED = "replaced"


@pytest.fixture
def lake(tmp_path: Path) -> PublishedLake:
    return PublishedLake(tmp_path / "lake")


def published(uri: str, **settings: object) -> Published:
    return Published(ServingSettings.model_validate({"lake": uri, **settings}), "flight_delay", SHAPE)


def read(uri: str, **settings: object) -> Published:
    found = published(uri, **settings)
    found.read()
    return found


def probability(found: Published, flight: str = FLIGHT) -> float:
    newest = found.newest(flight)
    assert newest is not None
    return float(newest.probability)


def test_a_published_prediction_is_found_with_what_it_was_made_from(lake: PublishedLake) -> None:
    lake.publish("nightly", probability=0.25, as_of=ONE)

    found = read(lake.uri)

    newest = found.newest(FLIGHT)
    assert newest is not None
    assert (newest.probability, newest.as_of, newest.horizon, newest.model_version) == (0.25, ONE, "nightly", "7")
    assert newest.sensor_at == ONE - timedelta(minutes=9)
    assert newest.tailnum is None
    assert found.snapshot.view.locations["LGA"].time_zone == "America/New_York"
    (reading,) = found.snapshot.view.readings["JFK"]
    assert (reading.known_at, reading.values["temperature"], reading.values["wind_speed"]) == (
        ONE - timedelta(minutes=9),
        61.0,
        None,
    )


def test_the_newest_as_of_wins_whichever_was_published_first(lake: PublishedLake) -> None:
    lake.publish("two_hours", probability=0.75, as_of=LATER)
    lake.publish("nightly", probability=0.25, as_of=ONE)

    found = read(lake.uri)

    assert probability(found) == 0.75
    assert [one.horizon for one in found.snapshot.predictions[FLIGHT]] == ["nightly", "two_hours"]
    assert [one.probability for one in found.snapshot.groups["origin"]["EWR"][DAY]] == [0.75, 0.75]


def test_predictions_within_the_day_are_followed_too(lake: PublishedLake) -> None:
    lake.publish("nightly", probability=0.25, as_of=ONE)
    found = read(lake.uri)
    lake.publish("intraday/two_hours/moment=20131001T1035Z", probability=0.5, as_of=LATER)

    found.read()

    newest = found.newest(FLIGHT)
    assert newest is not None
    assert (newest.probability, newest.horizon) == (0.5, "two_hours")


def test_a_partition_published_again_is_read_again(lake: PublishedLake) -> None:
    lake.publish("nightly", probability=0.25, as_of=ONE)
    found = read(lake.uri)
    lake.publish("nightly", probability=0.5, as_of=ONE)

    found.read()

    assert probability(found) == 0.5


def test_what_is_not_new_is_not_read_again(lake: PublishedLake) -> None:
    partition = lake.publish("nightly", probability=0.25, as_of=ONE)
    found = read(lake.uri)
    before = found.snapshot
    lake.lookup_file(partition).unlink()

    found.read()

    assert found.snapshot is before


def test_no_more_than_the_newest_days_are_held(lake: PublishedLake) -> None:
    days = [DAY + timedelta(days=number) for number in range(5)]
    for day in days:
        lake.publish("nightly", day, probability=0.25, as_of=ONE)
        lake.publish("intraday/two_hours/moment=20131001T1035Z", day, probability=0.5, as_of=LATER)
    found = read(lake.uri, published_days=2)
    assert found.snapshot.days == days[-2:]

    lake.publish("nightly", days[-1] + timedelta(days=1), probability=0.5, as_of=ONE)
    lake.publish("nightly", DAY - timedelta(days=1), probability=0.5, as_of=ONE)
    found.read()

    assert found.snapshot.days == [days[-1], days[-1] + timedelta(days=1)]
    assert found.newest(FLIGHT) is None


def test_a_day_that_is_withdrawn_makes_room_for_an_older_one(lake: PublishedLake) -> None:
    lake.publish("nightly", DAY, probability=0.25, as_of=ONE)
    lake.publish("nightly", DAY + timedelta(days=1), probability=0.5, as_of=ONE)
    found = read(lake.uri, published_days=1)
    shutil.rmtree(Path(lake.uri) / "flight_delay" / str(_nightly(DAY + timedelta(days=1))))

    found.read()
    found.read()

    assert found.snapshot.days == [DAY]


@pytest.mark.parametrize("content", [b"{}", b"not json", b""])
def test_a_damaged_lookup_is_not_believed_and_said_once(
    lake: PublishedLake, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    # Given two days, of which the second is damaged after its publication
    lake.publish("nightly", probability=0.25, as_of=ONE)
    other = lake.publish("nightly", DAY + timedelta(days=1), probability=0.5, as_of=ONE)
    lake.lookup_file(other).write_bytes(content)

    # When the lake is read, and read again
    with caplog.at_level(logging.WARNING):
        found = read(lake.uri)
        found.read()

    # Then the good day is there, and one line names the file
    assert probability(found) == 0.25
    assert found.newest(flight_id(DAY + timedelta(days=1), 0)) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("flight_delay/lookups/nightly/data_day=2013-10-02: lookup-")
    assert "is damaged (hash differs); publish it again" in line


def test_a_lookup_that_promises_something_else_is_not_believed(lake: PublishedLake) -> None:
    body = {"predictions": {"flight_id": ["1"]}, "locations": {}, "readings": {}}
    lake.lake.publish(_nightly(DAY), {"lookup.json": json.dumps(body).encode()})

    assert read(lake.uri).snapshot.predictions == {}


def test_what_was_read_before_stays_when_its_next_edition_is_damaged(lake: PublishedLake) -> None:
    lake.publish("nightly", probability=0.25, as_of=ONE)
    found = read(lake.uri)
    partition = lake.publish("nightly", probability=0.5, as_of=ONE)
    whole = lake.lookup_file(partition).read_bytes()
    lake.lookup_file(partition).write_bytes(whole[:-10])

    found.read()
    assert probability(found) == 0.25

    lake.lookup_file(partition).write_bytes(whole)
    found.read()
    assert probability(found) == 0.5


def test_predictions_without_a_lookup_are_passed_over(lake: PublishedLake, caplog: pytest.LogCaptureFixture) -> None:
    lake.lake.publish(Dataset(Layer.PREDICTIONS, "nightly").on(DAY), {"note.txt": b"of a use case without lookups"})

    found = read(lake.uri)

    assert found.snapshot.predictions == {}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("layer", [Layer.LOOKUPS, Layer.PREDICTIONS])
def test_a_lake_of_an_older_release_is_said_once(
    lake: PublishedLake, caplog: pytest.LogCaptureFixture, layer: Layer
) -> None:
    partition = lake.publish("nightly", probability=0.25, as_of=ONE)
    day = Path(lake.uri) / "flight_delay" / str(partition)
    old = Path(lake.uri) / "flight_delay" / layer / "nightly" / f"date={DAY}"
    day.rename(old)
    if layer is Layer.PREDICTIONS:
        shutil.rmtree(day.parents[1])
    found = published(lake.uri)
    with caplog.at_level(logging.WARNING):
        found.read()
        found.read()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"nothing is published here: flight_delay/{layer}/nightly/date={DAY} is of an older release")
    assert found.newest(FLIGHT) is None

    # Once a new lake's day is there, it is followed as any other
    lake.publish("nightly", probability=0.5, as_of=ONE)
    found.read()
    assert probability(found) == 0.5


def test_without_a_lake_there_is_nothing_to_look_up() -> None:
    with pytest.raises(NotFoundError, match="SERVING_LAKE is not set"):
        _ = Published(ServingSettings(releases="nowhere"), "flight_delay").snapshot


def test_before_the_first_reading_one_is_asked_to_wait(lake: PublishedLake) -> None:
    with pytest.raises(NotYetError, match="could not be read yet") as refused:
        _ = published(lake.uri).snapshot
    assert refused.value.retry_after == 1


@pytest.mark.parametrize("gone", Gone)
def test_a_lake_that_goes_away_leaves_what_was_read_and_its_age(lake: PublishedLake, gone: Gone) -> None:
    now = [0.0]
    found = Published(
        ServingSettings(lake=lake.uri, published_poll_seconds=1), "flight_delay", SHAPE, clock=lambda: now[0]
    )
    lake.publish("nightly", probability=0.25, as_of=ONE)
    found.read()
    lookups = Path(lake.uri) / "flight_delay" / "lookups"
    shutil.rmtree(lookups)
    if gone is Gone.REPLACED:
        lookups.write_text("no folder")

    now[0] = 30
    found.read()
    assert (probability(found), found.outdated) == (0.25, None)
    now[0] = 100
    found.read()
    assert (probability(found), found.outdated) == (0.25, 100)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 endpoint with a bucket; a little slower than a folder, so for few tests."""
    import boto3

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="lake")
        yield endpoint
    server.stop()


def test_a_bucket_is_followed_as_a_folder_is(bucket: str) -> None:
    lake = PublishedLake("s3://lake/some/where", s3_endpoint=bucket)
    for offset in range(3):
        day = DAY + timedelta(days=offset)
        lake.publish("nightly", day, probability=0.25, as_of=ONE)
        lake.publish(f"intraday/two_hours/moment={day:%Y%m%d}T1035Z", day, probability=0.5, as_of=LATER)
    found = read(lake.uri, s3_endpoint=bucket, published_days=2)
    newest = flight_id(DAY + timedelta(days=2), 0)
    assert found.snapshot.days == [DAY + timedelta(days=1), DAY + timedelta(days=2)]
    assert probability(found, newest) == 0.5

    lake.publish("two_hours", DAY + timedelta(days=2), probability=0.75, as_of=LATER)
    found.read()

    assert probability(found, newest) == 0.75
    assert found.newest(FLIGHT) is None


def test_a_bucket_that_is_not_there_is_said(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    found = read("s3://nowhere/lake", s3_endpoint=bucket)

    where = "s3://nowhere/lake/flight_delay/lookups"
    assert f"published predictions stay as they are: cannot list {where}: NoSuchBucket" in caplog.text
    with pytest.raises(NotYetError):
        _ = found.snapshot


def _nightly(day: date) -> Partition:
    return Dataset(Layer.LOOKUPS, "nightly").on(day)
