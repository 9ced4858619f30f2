"""The forecast keeps its time whatever the upstreams do, and never makes an answer up."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.use_cases.flight_delay.serving.chain import Chain
from include.use_cases.flight_delay.serving.forecast import Forecast
from include.use_cases.flight_delay.serving.places import SHAPE
from include.use_cases.flight_delay.serving.settings import ChainSettings
from serving.lookups.published import Published
from serving.settings import ServingSettings
from serving.telemetry.metrics import Telemetry
from tests.factory import flight_id
from tests.published_lake import DAY, PublishedLake
from tests.serving_process import ROUTES, ServingProcess
from tests.upstreams import NAMES, Mode, UpstreamProcess
from tests.waiting import PATIENCE

ASKED = 2.0
"""Seconds in which the app must have an answer, as issue 4 has it."""
FLIGHT = "2013-10-01-B6-2-JFK"

CLIENT = httpx.Client(limits=httpx.Limits(max_connections=128))

Start = Callable[..., ServingProcess]


@pytest.fixture(scope="module")
def process() -> Iterator[UpstreamProcess]:
    upstreams = UpstreamProcess()
    yield upstreams
    upstreams.stop()


@pytest.fixture
def upstreams(process: UpstreamProcess) -> UpstreamProcess:
    """Three that answer at once."""
    process.behave_all()
    return process


@pytest.fixture
def start(upstreams: UpstreamProcess, tmp_path: Path) -> Iterator[Start]:
    """Starts a server that asks the simulated upstreams."""
    started: list[ServingProcess] = []

    def one(**settings: str) -> ServingProcess:
        state = tmp_path / str(len(started)) / "state"
        state.parent.mkdir()
        # Long enough for a machine that has other work; tests that speak of time set their own.
        settings = {"SERVING_FORECAST_SECONDS": "20"} | settings
        started.append(ServingProcess(state, **ROUTES, **upstreams.settings, **settings).start())
        return started[-1]

    yield one
    for server in started:
        server.stop(signal.SIGKILL)


class Asked:
    """A forecast that was asked for, and the seconds it took."""

    def __init__(self, server: ServingProcess, flight: str = FLIGHT) -> None:
        clock = time.monotonic()
        self.answer = CLIENT.get(f"{server.url}/v1/forecast", params={"flight_id": flight}, timeout=PATIENCE)
        self.seconds = time.monotonic() - clock

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def body(self) -> dict[str, Any]:
        return dict(self.answer.json())


def until(server: ServingProcess, wanted: Callable[[Asked], bool], flight: str = FLIGHT) -> Asked:
    """The first answer that is as wanted."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        asked = Asked(server, flight)
        if wanted(asked):
            return asked
        time.sleep(0.05)
    raise AssertionError(f"never as wanted; at last {asked.status} {asked.answer.text}")


def answered(asked: Asked) -> bool:
    return asked.status == 200


def test_the_three_answers_come_as_one(start: Start) -> None:
    asked = Asked(start())

    assert asked.status == 200
    body = asked.body
    assert body["location"] == {
        "code": "JFK",
        "name": "JFK Intl",
        "latitude": 40.6,
        "longitude": -73.8,
        "time_zone": "UTC",
    }
    assert body["sensor"]["values"] == {"temperature": 61.5, "wind_gust": None}
    assert (body["prediction"]["probability"], body["prediction"]["model_version"]) == (0.19, "simulated")
    assert (body["source"], body["stale"]) == ("chain", False)
    assert body["age_seconds"] >= 0


def test_with_nothing_yet_it_says_so_in_time_goes_on_and_the_next_call_has_it(
    start: Start, upstreams: UpstreamProcess
) -> None:
    # Given upstreams that take longer together than anybody waits
    server = start(SERVING_FORECAST_SECONDS="0.3")
    before = upstreams.counts()
    for name, delay in zip(NAMES, (0.1, 0.4, 0.8), strict=True):
        upstreams.behave(name, delay=delay)

    # When a flight is asked for that nobody asked for before
    first = Asked(server)

    # Then it is told to come back, and does not have to set anything off again
    assert first.status == 503
    assert first.seconds < ASKED
    assert int(first.answer.headers["Retry-After"]) >= 1
    assert first.body == {"detail": f"flight {FLIGHT}: no forecast yet, it is being made"}
    assert until(server, answered).body["source"] == "chain"
    assert upstreams.counts() - before == dict.fromkeys(NAMES, 1)


def test_a_chain_that_cannot_be_quick_enough_is_not_waited_for(start: Start, upstreams: UpstreamProcess) -> None:
    server = start(SERVING_FORECAST_SECONDS="1.0")
    upstreams.behave("prediction", delay=3.0)
    until(server, answered)

    other = Asked(server, "2013-10-01-B6-3-JFK")

    assert other.status == 503
    assert other.seconds < 1.0
    assert other.answer.headers["Retry-After"] == "3"


def test_many_who_ask_the_same_make_one_call(start: Start, upstreams: UpstreamProcess) -> None:
    server = start()
    before = upstreams.counts()
    upstreams.behave_all(delay=0.2)

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: Asked(server), range(64)))

    assert {asked.status for asked in found} == {200}
    assert upstreams.counts() - before == dict.fromkeys(NAMES, 1)


def test_flights_of_one_airport_share_its_weather(start: Start, upstreams: UpstreamProcess) -> None:
    server = start()
    before = upstreams.counts()

    assert {Asked(server, f"2013-10-01-B6-{number}-LGA").status for number in range(5)} == {200}

    assert upstreams.counts() - before == {"location": 5, "sensor": 1, "prediction": 5}


def test_published_predictions_are_answered_at_once_and_newer_ones_when_they_come(
    start: Start, upstreams: UpstreamProcess, tmp_path: Path
) -> None:
    lake = PublishedLake(tmp_path / "lake")
    lake.publish("nightly", probability=0.25, as_of=datetime(2013, 10, 1, 5, tzinfo=UTC))
    flight = flight_id(DAY, 1)
    for name, delay in zip(NAMES, (0.5, 1.0, 2.0), strict=True):
        upstreams.behave(name, delay=delay)
    server = start(SERVING_LAKE=lake.uri)
    deadline = time.monotonic() + PATIENCE
    while server.get(f"/v1/flights/{flight}/delay").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)

    first = Asked(server, flight)

    assert (first.status, first.body["source"], first.body["prediction"]["probability"]) == (200, "published", 0.25)
    assert first.body["sensor"]["known_at"] == "2013-10-01T04:51:00Z"
    assert first.body["location"]["name"] == "John F Kennedy Intl"
    assert first.body["stale"] is False
    second = until(server, lambda asked: asked.body["source"] == "chain", flight)
    assert second.body["prediction"]["model_version"] == "simulated"


def test_what_is_published_is_stale_when_the_lake_has_not_answered_for_a_while(tmp_path: Path) -> None:
    # Given what was read of a lake that has gone since, and upstreams that nobody runs
    lake, now = PublishedLake(tmp_path / "lake"), [0.0]
    lake.publish("nightly", probability=0.25, as_of=datetime(2013, 10, 1, 5, tzinfo=UTC))
    nobody = {f"{name}_url": "http://127.0.0.1:1" for name in NAMES}
    settings = ServingSettings(lake=lake.uri)
    published = Published(settings, "flight_delay", SHAPE, clock=lambda: now[0])
    published.read()
    (tmp_path / "lake").rename(tmp_path / "elsewhere")

    async def ask() -> Forecast:
        chain = Chain(published, Telemetry(), ChainSettings.model_validate(nobody))
        try:
            return await chain.forecasts.ask(flight_id(DAY, 1))
        finally:
            await chain.stop()

    # When the forecast is asked for, before and after the lake has been away for long
    before = asyncio.run(ask())
    now[0] = 90
    published.read()
    after = asyncio.run(ask())

    # Then it is the same, and says how old it is
    assert (before.stale, before.age_seconds) == (False, 0.0)
    assert (after.stale, after.age_seconds) == (True, 90.0)
    assert before.prediction == after.prediction


@pytest.mark.stack
def test_without_upstreams_the_servers_own_three_are_the_chain(tmp_path: Path) -> None:
    lake = PublishedLake(tmp_path / "lake")
    lake.publish("nightly", probability=0.25, as_of=datetime(2013, 10, 1, 5, tzinfo=UTC))
    server = ServingProcess(tmp_path / "state", **ROUTES, SERVING_LAKE=lake.uri).start()
    try:
        asked = until(server, lambda asked: asked.status == 200 and asked.body["source"] == "chain", flight_id(DAY, 1))
        unknown = Asked(server, "2013-10-01-ZZ-9-JFK")
    finally:
        server.stop(signal.SIGKILL)

    assert asked.body["prediction"]["probability"] == 0.25
    assert asked.body["sensor"]["known_at"] == "2013-10-01T04:51:00Z"
    assert (unknown.status, unknown.body) == (404, {"detail": "flight 2013-10-01-ZZ-9-JFK: nobody knows it"})


def test_while_upstreams_are_down_the_last_answer_is_given_as_stale_with_its_age(
    start: Start, upstreams: UpstreamProcess
) -> None:
    server = start(SERVING_FORECAST_REFRESH_SECONDS="0.2", SERVING_FORECAST_FRESH_SECONDS="0.5")
    assert Asked(server).status == 200

    upstreams.behave_all(mode=Mode.FAIL)
    stale = until(server, lambda asked: bool(asked.body["stale"]))
    upstreams.behave_all()
    fresh = until(server, lambda asked: not asked.body["stale"])

    assert stale.body["age_seconds"] >= 0.5
    assert stale.body["prediction"]["probability"] == 0.19
    assert fresh.body["age_seconds"] < 0.5


def test_a_stale_answer_is_not_given_for_ever(start: Start, upstreams: UpstreamProcess) -> None:
    server = start(
        SERVING_FORECAST_REFRESH_SECONDS="0.1", SERVING_FORECAST_FRESH_SECONDS="0.2", SERVING_FORECAST_KEEP_SECONDS="1"
    )
    assert Asked(server).status == 200

    upstreams.behave("prediction", mode=Mode.FAIL)

    assert "no forecast yet" in until(server, lambda asked: asked.status == 503).body["detail"]


@pytest.mark.parametrize("hanging", NAMES)
def test_the_time_is_kept_when_an_upstream_hangs_for_ever(
    start: Start, upstreams: UpstreamProcess, hanging: str
) -> None:
    server = start(SERVING_FORECAST_SECONDS="0.5", SERVING_UPSTREAM_SECONDS="1")
    upstreams.behave(hanging, mode=Mode.HANG)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: Asked(server, f"2013-10-01-B6-{number}-JFK"), range(16)))

    assert {asked.status for asked in found} == {503}
    assert max(asked.seconds for asked in found) < ASKED
    upstreams.behave(hanging)
    until(server, answered, "2013-10-01-B6-1-JFK")


def test_an_upstream_that_is_down_is_left_alone(start: Start, upstreams: UpstreamProcess) -> None:
    server = start()
    before = upstreams.counts()
    upstreams.behave("location", mode=Mode.FAIL)

    found = [Asked(server, f"2013-10-01-B6-{number}-JFK") for number in range(30)]

    assert {asked.status for asked in found} == {503}
    # Five failures open the circuit; each was one call and at most one more.
    assert (upstreams.counts() - before)["location"] <= 12
    assert "upstream location is down" in found[-1].body["detail"]
    assert 1 <= int(found[-1].answer.headers["Retry-After"]) <= 5


@pytest.mark.parametrize("mode", [Mode.NONSENSE, Mode.ENDLESS])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_answer_is_not_passed_on(start: Start, upstreams: UpstreamProcess, name: str, mode: Mode) -> None:
    server = start()
    upstreams.behave(name, mode=mode)

    asked = Asked(server)

    assert asked.status == 503
    assert f"upstream {name} " in asked.body["detail"]
    assert "1.7" not in asked.answer.text


def test_that_a_flight_is_unknown_is_remembered_for_a_while(start: Start, upstreams: UpstreamProcess) -> None:
    server = start(SERVING_FORECAST_MISSING_SECONDS="1")
    upstreams.behave("location", mode=Mode.MISSING)
    before = upstreams.counts()

    began = time.monotonic()
    found = [Asked(server) for _ in range(5)]
    seconds = time.monotonic() - began

    assert {asked.status for asked in found} == {404}
    assert found[0].body == {"detail": f"flight {FLIGHT}: nobody knows it"}
    assert (upstreams.counts() - before)["location"] <= 1 + int(seconds), "asked more than once a second"
    upstreams.behave("location")
    assert until(server, answered).body["source"] == "chain"


def test_a_place_without_a_sensor_has_a_forecast_without_a_reading(start: Start, upstreams: UpstreamProcess) -> None:
    upstreams.behave("sensor", mode=Mode.MISSING)

    asked = Asked(start())

    assert (asked.status, asked.body["sensor"], asked.body["prediction"]["probability"]) == (200, None, 0.19)


def test_metrics_say_how_caches_and_upstreams_do(start: Start, upstreams: UpstreamProcess) -> None:
    server = start()
    assert [Asked(server).status for _ in range(3)] == [200] * 3
    upstreams.behave("prediction", mode=Mode.FAIL)
    assert Asked(server, "2013-10-01-B6-3-JFK").status == 503

    page = server.get("/metrics").text

    for line in (
        'serving_cache_lookups_total{cache="forecast",outcome="hit"} 2.0',
        'serving_cache_loads_total{cache="forecast",outcome="ok"} 1.0',
        'serving_cache_loads_total{cache="forecast",outcome="error"} 1.0',
        'serving_cache_loads_in_flight{cache="forecast"} 0.0',
        'serving_cache_entries{cache="sensor"} 1.0',
        'serving_upstream_seconds_count{outcome="ok",upstream="location"} 2.0',
        'serving_upstream_seconds_count{outcome="error",upstream="prediction"} 2.0',
        'serving_upstream_hedges_total{upstream="prediction"} 1.0',
    ):
        assert line in page


def test_more_flights_than_may_be_made_at_once_are_told_so(start: Start, upstreams: UpstreamProcess) -> None:
    server = start(SERVING_FORECAST_LOADS="4", SERVING_FORECAST_SECONDS="0.3", SERVING_UPSTREAM_SECONDS="3")
    before = upstreams.counts()
    upstreams.behave("location", mode=Mode.HANG)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: Asked(server, f"2013-10-01-B6-{number}-JFK"), range(16)))

    assert {asked.status for asked in found} == {503}
    assert sum("too many others are being made" in asked.body["detail"] for asked in found) == 12
    assert (upstreams.counts() - before)["location"] <= 8


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "flight_id: Field required"),
        ("flight_id=", "flight_id: String should match pattern"),
        ("flight_id=" + "x" * 65, "flight_id: String should match pattern"),
        ("flight_id=%00", "flight_id: String should match pattern"),
        ("flight_id=a%0a", "flight_id: String should match pattern"),
        ("flight_id=%ff%fe", "flight_id: String should match pattern"),
    ],
)
def test_a_question_that_is_none_is_refused(shared: ServingProcess, query: str, says: str) -> None:
    answer = shared.get(f"/v1/forecast?{query}")

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(says)


def test_the_document_says_what_the_route_takes_and_gives(shared: ServingProcess) -> None:
    document = shared.get("/openapi.json").json()

    described = document["paths"]["/v1/forecast"]["get"]
    (parameter,) = described["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("flight_id", "query", True)
    assert {"200", "404", "422", "503"} <= described["responses"].keys()
    schema = document["components"]["schemas"]["Forecast"]
    body = Asked(shared).body
    assert set(body) == set(schema["properties"]) == set(schema["required"])


@pytest.fixture(scope="module")
def shared(process: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """One server for tests that change nothing."""
    process.behave_all()
    server = ServingProcess(tmp_path_factory.mktemp("shared") / "state", **ROUTES, **process.settings).start()
    yield server
    server.stop(signal.SIGKILL)
