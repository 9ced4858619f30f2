"""A PostgreSQL that may be crashed, shared by the tests of ingestion; each test has a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres_server import PostgresServer


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
