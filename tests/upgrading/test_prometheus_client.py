"""What serving uses of prometheus_client beyond its manual."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def test_prometheus_client_still_chooses_a_format_by_this_function() -> None:
    encode, kind = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert encode(CollectorRegistry()) == b"# EOF\n"
