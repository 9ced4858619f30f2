from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from include.errors import DataError, FaultError
from include.ingestion.brokers.broker import Message
from include.ingestion.brokers.landing import LandingBroker
from include.ingestion.collector import Lateness, message, publications
from include.ingestion.streams import EVENT_TIME
from include.ingestion.tables_source import TablesSource
from include.quality.conform import conform
from include.settings import Records, Settings
from include.use_cases.flight_delay import sources
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.spec import SPEC
from include.use_cases.flight_delay.streams import STREAMS, TABLES, events
from tests.include.ingestion.site import Site

pytestmark = pytest.mark.stack
DAY = date(2013, 3, 10)
"""Clocks go forward on it."""


@pytest.fixture
def stored(site: Site) -> Site:
    """Three days in the tables, as collectors and workers bring them there."""
    source = sources.sample(Settings())
    for name in STREAMS:
        days = [DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)]
        made = (event for day in days for event in events(source, name, day))
        due = sorted(publications(STREAMS[name], made, Lateness(rate=0.2)))
        site.publish(name, [_message(name, one.event) for one in due])
    for worker in ("worker_1", "worker_2"):
        assert site.run(worker, batch=2000).drained
    return site


def opened(url: str) -> TablesSource:
    return TablesSource(url, SPEC, RAW, TABLES)


def _message(topic: str, event: Any) -> Message:
    return message(STREAMS[topic], {**event.record, EVENT_TIME: event.at})


def test_a_day_from_the_tables_is_the_day_from_the_files(stored: Site) -> None:
    tables = sources.source(Settings(records=Records.TABLES, database_url=stored.url))
    files = sources.source(Settings())
    assert isinstance(tables, TablesSource)
    assert (tables.first_day, tables.last_day) == (DAY - timedelta(days=1), DAY)
    for topic, contract in RAW.items():
        day = DAY + timedelta(days=1) if topic == "schedule" else DAY
        found, wanted = (conform(each.read(topic, day), contract, topic) for each in (tables, files))
        assert wanted.good.num_rows > 60
        assert found.bad.num_rows == 0
        assert found.good.equals(wanted.good)
    # And a day nobody has anything of is empty, with the right columns
    empty = tables.read("weather", date(2013, 7, 1))
    assert empty == pa.table({name: [] for name in RAW["weather"].names}, schema=RAW["weather"].schema)
    tables.close()


def test_what_workers_write_meanwhile_is_not_seen(stored: Site) -> None:
    # Given a source that was opened before a worker wrote
    tables = opened(stored.url)
    before = {topic: tables.read(topic, DAY) for topic in RAW}
    with psycopg.connect(stored.url) as session:
        session.execute("UPDATE flights SET arr_delay = 999, event_time = now()")
        session.execute("DELETE FROM weather_observations")
    # Then it answers as before: all topics as of one moment
    assert {topic: tables.read(topic, DAY) for topic in RAW} == before
    tables.close()
    # And one opened now sees it all
    after = opened(stored.url)
    assert set(after.read("flights", DAY)["arr_delay"].to_pylist()) == {999.0}
    assert after.read("weather", DAY).num_rows == 0
    after.close()


def test_empty_tables_and_a_database_that_is_away_say_what_to_do(database: str) -> None:
    with pytest.raises(DataError, match="table flights is empty; let the collectors"):
        opened(database)
    with pytest.raises(FaultError, match="is PostgreSQL up"):
        opened("postgresql://nobody@127.0.0.1:9/none")


def test_tables_that_cannot_be_read_say_why_and_what_helps(stored: Site) -> None:
    # Given a value that no partition can hold
    with psycopg.connect(stored.url) as session:
        session.execute("UPDATE flights SET scheduled_arrival = 'infinity'")
    # Then the rows are to be corrected, and a retry would not help
    tables = opened(stored.url)
    with pytest.raises(DataError, match=r"^source: the tables cannot be read: .*; correct the rows$"):
        tables.read("flights", DAY)
    tables.close()
    # And given tables of an older revision, it is the revision that helps
    with psycopg.connect(stored.url) as session:
        session.execute("ALTER TABLE weather_observations RENAME COLUMN visibility TO sight")
    tables = opened(stored.url)
    with pytest.raises(FaultError, match=r"visibility.*; let their workers bring them up to date"):
        tables.read("weather", DAY)
    tables.close()


def test_landing_broker_is_the_default() -> None:
    from include.ingestion.brokers.address import open_broker

    assert isinstance(open_broker(Settings()), LandingBroker)
