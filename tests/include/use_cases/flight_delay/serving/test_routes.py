"""The lookups over published predictions, as a real server answers them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.factory import flight_id
from tests.published_lake import DAY, PublishedLake
from tests.serving_process import ROUTES, ServingProcess
from tests.waiting import PATIENCE

ONE = datetime(2013, 10, 1, 5, tzinfo=UTC)
LATER = ONE + timedelta(hours=4)
FLIGHT = flight_id(DAY, 1)
NEXT_DAY = DAY + timedelta(days=1)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> PublishedLake:
    """Two horizons of a day, and the next day's nightly one."""
    found = PublishedLake(tmp_path_factory.mktemp("published") / "lake")
    found.publish("nightly", probability=0.25, as_of=ONE, rows=30)
    found.publish("two_hours", probability=0.75, as_of=LATER, rows=15, version="8")
    found.publish("nightly", NEXT_DAY, probability=0.5, as_of=ONE + timedelta(days=1), rows=6)
    return found


@pytest.fixture(scope="module")
def server(lake: PublishedLake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A server without a model: lookups need none."""
    state = tmp_path_factory.mktemp("state") / "state"
    process = ServingProcess(state, **ROUTES, SERVING_LAKE=lake.uri, SERVING_PUBLISHED_POLL_SECONDS="0.1").start()
    eventually(process, f"/v1/flights/{FLIGHT}/delay", 200)
    yield process
    process.stop(signal.SIGKILL)


def eventually(server: ServingProcess, path: str, status: int) -> Any:
    deadline = time.monotonic() + PATIENCE
    while (answer := server.get(path)).status_code != status and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_flights_newest_prediction_is_answered_with_as_of_and_version(server: ServingProcess) -> None:
    assert server.get(f"/v1/flights/{FLIGHT}/delay").json() == {
        "flight_id": "2013-10-01-B6-2-JFK",
        "carrier": "B6",
        "flight": 2,
        "tailnum": "N1",
        "origin": "JFK",
        "dest": "BOS",
        "scheduled_departure": "2013-10-01T12:01:00Z",
        "as_of": "2013-10-01T09:00:00Z",
        "sensor_at": "2013-10-01T08:51:00Z",
        "probability": 0.75,
        "model_version": "8",
        "horizon": "two_hours",
    }


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/flights/2013-10-01-ZZ-9-JFK/delay", 404, "flight 2013-10-01-ZZ-9-JFK: no prediction is published"),
        (f"/v1/flights/{'x' * 65}/delay", 422, "flight_id: String should match pattern"),
        ("/v1/airports/BOS/delays", 404, "airport BOS: no predictions are published"),
        (
            "/v1/airports/JFK/delays?date=2013-09-01",
            404,
            "airport JFK: nothing is published of 2013-09-01; there are 20",
        ),
        ("/v1/airports/JFK/delays?offset=99", 404, "airport JFK: offset 99 is past the 2 predictions of 2013-10-02"),
        ("/v1/airports/JFK/delays?limit=501", 422, "limit: Input should be less than or equal to 500"),
        ("/v1/airports/jfk/delays", 422, "code: String should match pattern"),
        ("/v1/location", 422, "give either flight_id or code"),
        ("/v1/location?code=ZZZ", 404, "airport ZZZ: no flight of the published days goes there"),
        ("/v1/sensor?location=BOS", 404, "location BOS: no reading is published"),
        ("/v1/sensor?location=JFK&as_of=2012-01-01T00:00:00Z", 404, "location JFK: no reading is published as of 2012"),
        ("/v1/sensor?location=JFK&as_of=2012-01-01T00:00:00", 422, "as_of: Input should have timezone info"),
        (f"/v1/prediction?flight_id={FLIGHT}&location=LGA", 404, f"flight {FLIGHT} from LGA: no prediction"),
        ("/v1/prediction", 422, "flight_id: Field required"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(server: ServingProcess, path: str, status: int, says: str) -> None:
    answer = server.get(path)

    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_an_airports_departures_come_page_by_page(server: ServingProcess) -> None:
    pages, offset = [], 0
    while offset is not None:
        page = server.get(f"/v1/airports/JFK/delays?date={DAY}&limit=4&offset={offset}").json()
        pages.append(page)
        offset = page["next_offset"]

    assert [len(page["flights"]) for page in pages] == [4, 4, 2]
    assert {page["total"] for page in pages} == {10}
    assert pages[0]["name"] == "John F Kennedy Intl"
    flights = [flight for page in pages for flight in page["flights"]]
    assert [flight["scheduled_departure"] for flight in flights] == sorted(f["scheduled_departure"] for f in flights)
    # Half of the flights have a newer prediction: (5 * 0.75 + 5 * 0.25) / 10.
    assert pages[0]["mean_probability"] == 0.5
    assert [flight["probability"] for flight in flights] == [0.75] * 5 + [0.25] * 5
    assert [page["model_versions"] for page in pages] == [["8"], ["7", "8"], ["7"]]
    assert [page["as_of"] for page in pages] == ["2013-10-01T09:00:00Z", "2013-10-01T09:00:00Z", "2013-10-01T05:00:00Z"]


def test_without_a_date_an_airports_newest_day_is_answered(server: ServingProcess) -> None:
    answer = server.get("/v1/airports/JFK/delays").json()

    assert (answer["date"], answer["total"], answer["next_offset"]) == (NEXT_DAY.isoformat(), 2, None)


def test_a_location_is_found_by_flight_or_by_code(server: ServingProcess) -> None:
    by_flight = server.get(f"/v1/location?flight_id={FLIGHT}").json()

    assert by_flight == server.get("/v1/location?code=JFK").json()
    assert by_flight["time_zone"] == "America/New_York"
    assert by_flight["latitude"] == pytest.approx(40.64, abs=0.01)


def test_a_sensor_answers_its_newest_reading_or_the_one_as_of_then(server: ServingProcess) -> None:
    newest = server.get("/v1/sensor?location=JFK").json()
    then = server.get("/v1/sensor?location=JFK&as_of=2013-10-01T08:50:59Z").json()

    assert newest["known_at"] == "2013-10-02T04:51:00Z"
    assert then["known_at"] == "2013-10-01T04:51:00Z"
    assert (newest["values"]["temperature"], newest["values"]["wind_speed"]) == (61.0, None)


def test_a_prediction_is_the_newest_that_needs_no_newer_reading(server: ServingProcess) -> None:
    newest = server.get(f"/v1/prediction?flight_id={FLIGHT}&location=JFK").json()
    then = server.get(f"/v1/prediction?flight_id={FLIGHT}&known_at=2013-10-01T04:51:00Z").json()

    assert newest == {
        "flight_id": FLIGHT,
        "probability": 0.75,
        "as_of": "2013-10-01T09:00:00Z",
        "model_version": "8",
    }
    assert (then["probability"], then["model_version"]) == (0.25, "7")


def test_a_new_publication_is_answered_without_a_restart(server: ServingProcess, lake: PublishedLake) -> None:
    day = DAY - timedelta(days=1)
    assert server.get(f"/v1/flights/{flight_id(day, 0)}/delay").status_code == 404

    lake.publish("nightly", day, probability=0.125, as_of=ONE - timedelta(days=1))

    assert eventually(server, f"/v1/flights/{flight_id(day, 0)}/delay", 200)["probability"] == 0.125


@pytest.mark.stack
def test_a_server_without_a_lake_says_so(tmp_path: Path) -> None:
    process = ServingProcess(tmp_path / "state", **ROUTES).start()
    try:
        answer = process.get(f"/v1/flights/{FLIGHT}/delay")
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "nothing is published here: SERVING_LAKE is not set"},
        )
    finally:
        process.stop(signal.SIGKILL)
