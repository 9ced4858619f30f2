"""A PostgreSQL that may be crashed, real records to publish, and a site of both for each test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from include.ingestion.brokers.broker import Message
from include.ingestion.brokers.landing import LandingBroker
from include.ingestion.collector import Lateness, message, publications
from include.ingestion.streams import EVENT_TIME
from include.settings import Settings
from include.storage.lake import days_between
from include.storage.store import open_store
from include.use_cases.flight_delay.sources import sample
from include.use_cases.flight_delay.streams import STREAMS, events
from tests.include.ingestion.site import Site
from tests.postgres_server import PostgresServer

DAYS = {
    "a1": days_between(date(2013, 3, 1), date(2013, 3, 14)),
    "a2": days_between(date(2013, 3, 1), date(2013, 3, 1)),
}


@pytest.fixture(scope="session")
def crashable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    server.prepare()
    yield server
    server.stop()


@pytest.fixture
def server(crashable: PostgresServer) -> Iterator[PostgresServer]:
    """The server, up when the test begins and up again after it."""
    crashable.start()
    yield crashable
    crashable.start()


@pytest.fixture
def database(server: PostgresServer) -> str:
    """The address of a new, migrated database."""
    return server.database()


@pytest.fixture(scope="session")
def messages() -> dict[str, list[Message]]:
    """Real records of both topics, a fifth of them late, in the order in which they are published."""
    source = sample(Settings())
    found = {}
    for name, days in DAYS.items():
        lateness = Lateness(rate=0.2)
        due = sorted(each for day in days for each in publications(STREAMS[name], events(source, name, day), lateness))
        found[name] = [message(STREAMS[name], {**each.event.record, EVENT_TIME: each.event.at}) for each in due]
    return found


@pytest.fixture
def site(database: str, tmp_path: Path) -> Iterator[Site]:
    """Empty topics in a landing folder, empty tables."""
    site = Site(database, LandingBroker(open_store(str(tmp_path / "landing"))))
    yield site
    site.close()
