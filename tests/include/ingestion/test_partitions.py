from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from include.ingestion.brokers.broker import Message
from include.ingestion.ledger import Ledger
from include.ingestion.partitions import DailyPartitions
from include.ingestion.workers import Worker, WorkerSpec
from include.use_cases.flight_delay.streams import WEATHER_STREAM
from tests.include.ingestion.site import Site

pytestmark = pytest.mark.stack
DAYS = [date(2013, 3, day) for day in (1, 2, 10)]


def test_a_partition_is_made_once_however_many_ask(database: str) -> None:
    # Given four who need the same days at once
    def ensure() -> None:
        with psycopg.connect(database, autocommit=True) as session:
            DailyPartitions("flights").ensure(session, DAYS)

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then each is there once
    with psycopg.connect(database, autocommit=True) as session:
        assert DailyPartitions("flights").days(session) == DAYS


def test_making_a_partition_does_not_wait_for_readers_of_the_table(database: str) -> None:
    with psycopg.connect(database) as reader, psycopg.connect(database, autocommit=True) as writer:
        reader.execute("SELECT count(*) FROM flights")  # its transaction is still open
        writer.execute("SET lock_timeout = '2s'")
        DailyPartitions("flights").ensure(writer, DAYS)
        assert DailyPartitions("flights").days(writer) == DAYS


def test_days_before_the_retentions_end_are_dropped_and_a_later_record_brings_its_day_back(
    site: Site, messages: dict[str, list[Message]]
) -> None:
    # Given fourteen days of observations, from 1 to 14 March, and some hours of the 15th
    site.publish("a1", messages["a1"])
    site.run("worker_1")
    # When those older than seven days are dropped on the 15th
    ledger = Ledger(site.url, "retention", WEATHER_STREAM)
    worker = Worker(WorkerSpec("worker_1", "a1"), ledger, site.broker)
    worker.expire(7, datetime(2013, 3, 15, 12, tzinfo=UTC))
    # Then the days from the 8th on are left
    assert worker.tally.expired_days == 7
    days = {datetime.fromisoformat(key[1]).date() for key in site.rows("a1")}
    assert days == {date(2013, 3, 8) + timedelta(days=n) for n in range(8)}
    # And a very late record is stored, not lost
    site.publish("a1", messages["a1"][:1])
    assert site.run("worker_1").dead_letters == 0
    assert date(2013, 3, 1) in {datetime.fromisoformat(key[1]).date() for key in site.rows("a1")}


def test_a_partition_that_is_being_read_stays_for_another_time(
    site: Site, messages: dict[str, list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.ingestion.partitions.LOCK_MILLISECONDS", 100)
    site.publish("a1", messages["a1"][:200])
    site.run("worker_1")
    with psycopg.connect(site.url) as reader, psycopg.connect(site.url, autocommit=True) as session:
        reader.execute("SELECT count(*) FROM weather_observations")
        assert DailyPartitions("weather_observations").drop(session, date(2014, 1, 1)) == []
        reader.rollback()
        assert DailyPartitions("weather_observations").drop(session, date(2014, 1, 1))[0] == date(2013, 3, 1)
        assert DailyPartitions("weather_observations").days(session) == []
