"""Lookups of a use case that has no routes of its own, as a real server answers them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from include.predictions.lookup import publish_lookup
from include.settings import Settings
from include.step import Context, open_context
from include.storage.lake import Dataset, Layer
from tests.serving_process import ServingProcess
from tests.waiting import until

DAY = date(2026, 6, 15)
MIDNIGHT = datetime(2026, 6, 14, 22, tzinfo=UTC)
KIOSKS = ("Arno", "Brera", "Corso")


def publish(context: Context, horizon: str, day: date, hours: int, version: str, *, times: int = 1) -> None:
    """Publish a day's predictions, some for each kiosk, and their lookup as the score step does."""
    keys = [f"{day}-{kiosk}-{number}" for kiosk in KIOSKS for number in range(times)]
    as_of = MIDNIGHT + timedelta(days=(day - DAY).days, hours=hours)
    predictions = pa.table(
        {
            "kiosk_day": keys,
            "kiosk": [key.split("-")[3] for key in keys],
            "forecast": [21.5 + hours] * len(keys),
            "as_of": pa.array([as_of] * len(keys), pa.timestamp("us", "UTC")),
            "probability": [hours / 10] * len(keys),
            "model_version": [version] * len(keys),
        }
    )
    made, features = (Dataset(layer, horizon).on(day) for layer in (Layer.PREDICTIONS, Layer.FEATURES))
    context.lake.publish(made, {"predictions.parquet": predictions})
    context.lake.publish(features, {"features.parquet": pa.table({"kiosk_day": keys})})
    publish_lookup(context, made, features)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A server that looks up three days of ice cream, one of them predicted twice."""
    folder = tmp_path_factory.mktemp("lake")
    context = open_context("tests.use_cases.ice_cream", Settings(lake=str(folder)))
    publish(context, "morning", DAY, hours=1, version="7", times=3)
    publish(context, "noon", DAY, hours=5, version="8")
    publish(context, "morning", DAY + timedelta(days=1), hours=1, version="8")
    state = tmp_path_factory.mktemp("state") / "state"
    process = ServingProcess(
        state, SERVING_LAKE=str(folder), SERVING_USE_CASES="ice_cream", SERVING_PUBLISHED_POLL_SECONDS="0.1"
    ).start()
    until(lambda: process.get(f"/v1/models/ice_cream/predictions/{DAY}-Arno-0").status_code == 200)
    yield process
    process.stop(signal.SIGKILL)


def test_a_keys_newest_prediction_is_answered_as_it_was_published(server: ServingProcess) -> None:
    assert server.get(f"/v1/models/ice_cream/predictions/{DAY}-Arno-0").json() == {
        "kiosk_day": "2026-06-15-Arno-0",
        "kiosk": "Arno",
        "forecast": 26.5,
        "as_of": "2026-06-15T03:00:00Z",
        "probability": 0.5,
        "model_version": "8",
        "horizon": "noon",
    }


def test_a_groups_predictions_come_page_by_page(server: ServingProcess) -> None:
    path = f"/v1/models/ice_cream/groups/kiosk/Brera?date={DAY}&limit=2"
    first, second = server.get(path).json(), server.get(f"{path}&offset=2").json()
    assert [one["kiosk_day"] for one in first.pop("predictions")] == [f"{DAY}-Brera-0", f"{DAY}-Brera-1"]
    assert [one["kiosk_day"] for one in second.pop("predictions")] == [f"{DAY}-Brera-2"]
    shared = {"column": "kiosk", "value": "Brera", "date": "2026-06-15", "total": 3}
    assert first == shared | {"as_of": "2026-06-15T03:00:00Z", "model_versions": ["7", "8"], "next_offset": 2}
    assert second == shared | {"as_of": "2026-06-14T23:00:00Z", "model_versions": ["7"], "next_offset": None}


def test_without_a_date_a_groups_newest_day_is_answered(server: ServingProcess) -> None:
    answer = server.get("/v1/models/ice_cream/groups/kiosk/Brera").json()
    assert (answer["date"], answer["total"]) == ("2026-06-16", 1)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("flight_delay/predictions/1", 404, "no use case of that name is looked up here; this server has ice_cream"),
        ("flight_delay/groups/kiosk/Arno", 404, "this server has ice_cream"),
        ("ice_cream/predictions/nobody", 404, "ice_cream nobody: no prediction is published"),
        ("ice_cream/groups/town/Rome", 404, "ice_cream: column town is none of kiosk; write one of these"),
        ("ice_cream/groups/kiosk/Duomo", 404, "ice_cream: kiosk Duomo: no predictions are published"),
        (
            "ice_cream/groups/kiosk/Arno?date=2026-01-01",
            404,
            "ice_cream: kiosk Arno: nothing is published of 2026-01-01; there are 2026-06-15 to 2026-06-16",
        ),
        ("ice_cream/groups/kiosk/Arno?offset=9", 404, "kiosk Arno: offset 9 is past the 1 predictions of 2026-06-16"),
        ("ice_cream/groups/kiosk/Arno?limit=501", 422, "limit: Input should be less than or equal to 500"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(server: ServingProcess, path: str, status: int, says: str) -> None:
    answer = server.get(f"/v1/models/{path}")
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]


def test_routes_of_another_use_case_are_not_there(server: ServingProcess) -> None:
    assert server.get("/v1/forecast?flight_id=1").status_code == 404
    assert not [path for path in json.loads(server.get("/openapi.json").text)["paths"] if "flight" in path]
