from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from formats.answers.binary import BinaryKind
from serving.telemetry import metrics
from serving.telemetry.metrics import CacheLookup, ModelState, Shed, Telemetry, UpstreamOutcome, VersionRole


def page(telemetry: Telemetry) -> dict[str, float]:
    """The metrics as `name{label="value"}` to value."""
    content, _ = telemetry.page()
    return {
        sample.name
        + "{"
        + ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
        + "}": sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def test_requests_are_counted_and_timed() -> None:
    telemetry = Telemetry()
    telemetry.request("/v1/predict", "POST", 200, 0.0004)
    telemetry.request("/v1/predict", "POST", 200, 0.004)
    telemetry.request("/v1/predict", "POST", 503, 0.0001)

    found = page(telemetry)

    answered = 'method="POST",route="/v1/predict",status="200"'
    assert found[f"serving_requests_total{{{answered}}}"] == 2
    assert found['serving_requests_total{method="POST",route="/v1/predict",status="503"}'] == 1
    assert found[f'serving_request_seconds_bucket{{le="0.0005",{answered}}}'] == 1
    assert found[f'serving_request_seconds_bucket{{le="0.005",{answered}}}'] == 2
    assert found[f"serving_request_seconds_sum{{{answered}}}"] == pytest.approx(0.0044)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=20), max_size=10))
def test_every_probability_answered_is_in_its_versions_distribution(answers: list[list[float]]) -> None:
    telemetry = Telemetry()
    for probabilities in answers:
        telemetry.predicted("7", b"", np.array(probabilities), kind=BinaryKind())

    found = page(telemetry)

    everything = [probability for probabilities in answers for probability in probabilities]
    if everything:
        for bound in metrics.LEVELS:
            below = sum(probability <= bound for probability in everything)
            assert found[f'serving_prediction_probability_bucket{{le="{bound}",use_case="",version="7"}}'] == below
        assert found['serving_prediction_probability_count{use_case="",version="7"}'] == len(everything)
        assert found['serving_prediction_probability_sum{use_case="",version="7"}'] == pytest.approx(sum(everything))


def test_more_answers_than_may_wait_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PENDING", 10)
    telemetry = Telemetry()

    for _ in range(25):
        telemetry.predicted("7", b"", np.array([0.5, 0.6]), kind=BinaryKind())

    assert page(telemetry)['serving_prediction_probability_count{use_case="",version="7"}'] == 50


def test_a_server_that_lives_long_forgets_its_oldest_versions() -> None:
    telemetry = Telemetry()
    for version in range(metrics.VERSIONS + 3):
        telemetry.predicted(str(version), b"", np.array([0.5]), kind=BinaryKind())

    found = page(telemetry)

    assert 'serving_prediction_probability_count{use_case="",version="2"}' not in found
    assert 'serving_prediction_probability_count{use_case="",version="3"}' in found


def test_what_waits_and_what_is_turned_away_is_seen() -> None:
    telemetry = Telemetry()
    telemetry.in_flight(1)
    telemetry.in_flight(1)
    telemetry.in_flight(-1)
    telemetry.queue(5)
    telemetry.shed(Shed.QUEUE_FULL)
    telemetry.rate_limited()

    found = page(telemetry)

    assert found["serving_requests_in_flight{}"] == 1
    assert found["serving_queue_length{}"] == 5
    assert found['serving_shed_total{reason="queue_full"}'] == 1
    assert found["serving_rate_limited_total{}"] == 1


def test_caches_and_upstreams_are_seen() -> None:
    telemetry = Telemetry()
    telemetry.cache("forecast", CacheLookup.MISS)
    telemetry.cache("forecast", CacheLookup.HIT, entries=12)
    telemetry.upstream("sensor", UpstreamOutcome.TIMEOUT, 2.5)
    telemetry.upstream_open("sensor", True)

    found = page(telemetry)

    assert found['serving_cache_lookups_total{cache="forecast",outcome="hit"}'] == 1
    assert found['serving_cache_entries{cache="forecast"}'] == 12
    assert found['serving_upstream_seconds_count{outcome="timeout",upstream="sensor"}'] == 1
    assert found['serving_upstream_open{upstream="sensor"}'] == 1


def test_what_is_in_service_is_asked_when_prometheus_asks() -> None:
    telemetry = Telemetry()
    assert not [name for name in page(telemetry) if name.startswith("serving_model")]

    telemetry.watch_models(lambda: [ModelState("8", "flight_delay", "ab" * 32, VersionRole.ON_TRIAL, 0.1)])

    found = page(telemetry)
    assert found[f'serving_model_info{{role="on_trial",sha256="{"ab" * 32}",use_case="flight_delay",version="8"}}'] == 1
    assert found['serving_model_share{role="on_trial",use_case="flight_delay",version="8"}'] == 0.1


def test_openmetrics_is_answered_to_who_asks_for_it() -> None:
    telemetry = Telemetry()
    telemetry.request("/healthz", "GET", 200, 0.001)

    content, content_type = telemetry.page("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(content.decode())}  # type: ignore[no-untyped-call]
    assert {"serving_requests", "serving_request_seconds", "serving_workers"} <= names


def test_its_own_memory_is_told() -> None:
    assert 10e6 < page(Telemetry())["serving_resident_bytes{}"] < 10e9


def test_it_ends_at_once_even_if_it_never_began() -> None:
    async def life() -> None:
        never = Telemetry()
        await never.stop()
        telemetry = Telemetry()
        await telemetry.start()
        await telemetry.stop()

    asyncio.run(asyncio.wait_for(life(), 5))
