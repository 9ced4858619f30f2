"""The whole path: a collector's records, through the landing folder and a worker, in their table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from include.settings import Settings
from include.step import open_context
from include.steps import collect, work

pytestmark = pytest.mark.stack
PACKAGE = "include.use_cases.flight_delay"
DAY = "2013-03-01"


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=30)


def test_a_days_records_reach_their_tables(database: str, tmp_path: Path) -> None:
    settings = Settings(lake=str(tmp_path / "lake"), broker=str(tmp_path / "landing"), database_url=database)
    context = open_context(PACKAGE, settings)

    published = {
        topic: collect.collect(context, collect.Arguments(use_case=PACKAGE, date=DAY, topic=topic)).rows[topic]
        for topic in ("a1", "a2")
    }
    stored = {
        worker: work.work(
            context, work.Arguments(use_case=PACKAGE, date=DAY, worker=worker, deadline=soon(), drain=True)
        ).rows
        for worker in ("worker_1", "worker_2")
    }
    print(published, stored)

    assert stored == {
        "worker_1": {"weather_observations": published["a1"]},
        "worker_2": {"flights": published["a2"]},
    }
    with psycopg.connect(database) as session:
        rows = session.execute(
            "SELECT count(*) FROM flights WHERE date = %s AND dep_delay IS NOT NULL", [DAY]
        ).fetchone()
    assert rows is not None and rows[0] > 800
