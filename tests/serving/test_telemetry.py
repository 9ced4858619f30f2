"""Telemetry of real servers: two workers, real signals, a real lake."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from include.predictions.samples import samples
from include.settings import Settings
from include.storage.lake import Lake
from include.storage.store import open_store
from tests.portable_files import portable_bytes, write
from tests.serving_process import ROUTES, ServingProcess
from tests.span_collector import SpanCollector
from tests.waiting import PATIENCE, until

ROW = {"distance": 1.0, "hour": 2, "carrier": "B6"}
SECRET = "a-secret-value"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServingProcess]:
    """Two workers that serve version 7 and keep every request as a sample."""
    server = ServingProcess(
        tmp_path / "state",
        **ROUTES,
        SERVING_WORKERS="2",
        SERVING_LAKE=str(tmp_path / "lake"),
        SERVING_SAMPLE_SHARE="1",
        SERVING_SAMPLE_ROWS_PER_SECOND="1000000",
    ).start()
    server.deploy(*write(tmp_path, portable_bytes()), "7")
    yield server
    server.stop(signal.SIGKILL)


def metric(server: ServingProcess, name: str) -> float:
    """The value of `name{labels}` as any of the workers tells it; 0 if it is not there yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", server.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


PREDICTED = 'serving_requests_total{method="POST",route="/v1/predict",status="200"}'
ANSWERED = 'serving_prediction_probability_count{use_case="flight_delay",version="7"}'


def published(server: ServingProcess) -> float:
    """The predictions that the workers' files tell of."""
    files = [msgspec.msgpack.decode(path.read_bytes()) for path in (server.state / "metrics").glob("*.counts")]
    rows = [row for counts in files for row in counts["serving_request_seconds"]]
    return sum(sum(cells[:-1]) for labels, cells in rows if labels == ["/v1/predict", "POST", 200])


def ask(server: ServingProcess, times: int, rows: int = 1) -> None:
    """Each time over a connection of its own, so that both workers are asked."""
    for _ in range(times):
        server.predict([ROW] * rows).raise_for_status()


def test_any_worker_tells_what_all_of_them_did_and_a_killed_ones_share_is_not_lost(server: ServingProcess) -> None:
    # Given requests that both workers answered
    ask(server, 40, rows=3)
    until(lambda: metric(server, PREDICTED) == 40)
    assert all(metric(server, ANSWERED) == 120 for _ in range(6))
    assert metric(server, "serving_workers") == 2

    # When one is killed, and replaced
    until(lambda: published(server) == 40)  # what a worker counted in its last quarter second dies with it
    before = server.workers()
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(server.workers() - {min(before)}) == 2)

    # Then nothing is forgotten, nothing is counted twice, and there are two workers again
    until(lambda: metric(server, "serving_workers") == 2)
    assert all(metric(server, PREDICTED) == 40 for _ in range(6))
    ask(server, 5)
    until(lambda: metric(server, PREDICTED) == 45)
    assert not (server.state / "metrics" / f"{min(before)}.counts").exists()


def test_the_version_in_service_is_on_the_page(server: ServingProcess) -> None:
    page = server.get("/metrics").text

    assert re.search(
        r'serving_model_info\{role="in_service",sha256="[0-9a-f]{64}",use_case="flight_delay",version="7"\} 1.0', page
    )
    assert 'serving_model_share{role="in_service",use_case="flight_delay",version="7"} 1.0' in page


def test_what_was_asked_is_in_the_lake_once_the_server_has_ended(server: ServingProcess, tmp_path: Path) -> None:
    ask(server, 10, rows=2)
    answer = httpx.post(
        f"{server.url}/v1/predict", json={"rows": [ROW]}, headers={"x-request-id": "order-17"}, timeout=PATIENCE
    )

    assert server.stop() == 0

    lake = Lake(open_store(Settings(lake=str(tmp_path / "lake")).lake), "flight_delay")
    found = samples(lake, datetime.now(UTC).date())
    assert found.num_rows == 21
    (mine,) = (row for row in found.to_pylist() if row["request_id"] == "order-17")
    assert (mine["version"], mine["row"], mine["inputs"]) == ("7", 0, ROW)
    assert mine["probability"] == answer.json()["probabilities"][0]


def test_a_lake_that_cannot_be_written_fails_no_request_and_holds_up_no_end(
    server: ServingProcess, tmp_path: Path
) -> None:
    # Given a file where the lake's folder of samples should be
    (tmp_path / "lake").mkdir(exist_ok=True)
    (tmp_path / "lake" / "samples").write_text("in the way")

    # When requests are answered and the server is told to end
    ask(server, 20)
    ended = server.stop()

    # Then nobody noticed, but the log did
    assert ended == 0
    assert "samples cannot be kept, requests go on" in server.log.read_text()


def test_every_line_of_the_log_is_json_and_none_holds_what_was_sent(server: ServingProcess) -> None:
    httpx.post(f"{server.url}/v1/predict?key={SECRET}", json={"rows": [ROW | {"carrier": SECRET}]}, timeout=PATIENCE)
    httpx.post(f"{server.url}/v1/predict", json={"rows": [{SECRET: SECRET}]}, timeout=PATIENCE)
    httpx.post(f"{server.url}/v1/predict", content=b'{"rows": "' + SECRET.encode(), timeout=PATIENCE)
    server.get(f"/v1/flights/{SECRET}/delay")
    server.get(f"/{SECRET}")
    server.get(f"/v1/models/{SECRET}", credential=SECRET)
    httpx.post(f"{server.url}/v1/models/flight_delay/predict", json={"rows": [ROW]}, timeout=PATIENCE)

    server.stop()

    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert {(line["route"], line["status"]) for line in requests} >= {
        ("/v1/predict", 200),
        ("/v1/predict", 422),
        ("/v1/flights/{flight_id}/delay", 404),
        ("unmatched", 404),
        ("/v1/models/{use_case}", 404),
        ("/v1/models/{use_case}/predict", 200),
    }
    assert SECRET not in server.log.read_text()


@pytest.mark.stack
def test_a_request_can_be_followed_from_its_caller_to_the_model(tmp_path: Path) -> None:
    with SpanCollector() as collector:
        server = ServingProcess(tmp_path / "state", SERVING_OTLP_ENDPOINT=collector.url).start()
        server.deploy(*write(tmp_path, portable_bytes()), "7")
        caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        large = {"rows": [ROW] * 1000}  # answered by a thread

        for body in ({"rows": [ROW]}, large):
            httpx.post(f"{server.url}/v1/predict", json=body, headers={"traceparent": caller}, timeout=PATIENCE)
        server.stop()

    mine = [span for span in collector.spans if span.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736"]
    requests = {span.span_id: span for span in mine if span.name == "POST /v1/predict"}
    models = [span for span in mine if span.name == "model"]
    assert [span.parent_span_id.hex() for span in requests.values()] == ["00f067aa0ba902b7"] * 2
    assert {span.parent_span_id for span in models} == set(requests)
