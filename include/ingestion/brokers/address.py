"""The broker that an address names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.ingestion.brokers.broker import Broker

if TYPE_CHECKING:
    from include.settings import Settings


def open_broker(settings: Settings) -> Broker:
    """The broker that NIGHTSHIFT_BROKER names: a folder, `file://…`, `s3://…` or `kafka://host:port,…`."""
    if urlsplit(settings.broker).scheme == "kafka":
        from include.ingestion.brokers.kafka import KafkaBroker, connection

        return KafkaBroker(connection(settings))
    from include.ingestion.brokers.landing import LandingBroker
    from include.storage.store import open_store

    return LandingBroker(open_store(settings.broker, s3_endpoint=settings.s3_endpoint))
