"""The steps as processes: arguments in, one result or one line out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from pydantic import SecretStr

from include.errors import FaultError, SettingsError
from include.ingestion.tables_source import TablesSource
from include.ingestion.timetable import load_timetable
from include.quality.conform import conform
from include.settings import Settings
from include.step import Context, open_context
from include.steps import collect, work
from tests.include.ingestion.site import shift_of_pauses
from tests.use_cases.ice_cream.contracts import RAW
from tests.use_cases.ice_cream.streams import TILLS
from tests.waiting import PATIENCE

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[3]
ICE_CREAM = "tests.use_cases.ice_cream"
PACKAGE = "include.use_cases.flight_delay"
DAY = date(2013, 3, 1)
A_WHILE = timedelta(seconds=PATIENCE)
LATER = "2113-03-01T05:00:00+00:00"
"""A deadline that no test meets."""
Step = Callable[..., tuple[int, str]]


@pytest.fixture
def step(database: str, tmp_path: Path) -> Step:
    """Runs a step as a pod would and answers its exit code and termination message."""

    def run(name: str, *argv: str, **environment: str) -> tuple[int, str]:
        message = tmp_path / "message"
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "NIGHTSHIFT_LAKE": str(tmp_path / "lake"),
            "NIGHTSHIFT_BROKER": str(tmp_path / "landing"),
            "NIGHTSHIFT_DATABASE_URL": database,
            "NIGHTSHIFT_TERMINATION_LOG": str(message),
            **environment,
        }
        command = [sys.executable, "-m", f"include.steps.{name}", "--use-case", PACKAGE, "--date", "2013-03-01", *argv]
        done = subprocess.run(command, env=given, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, message.read_text()

    return run


def test_a_day_goes_from_the_source_to_its_tables_by_steps(step: Step, database: str) -> None:
    code, message = step("collect", "--topic", "a1", "--late", "0.3")
    published: dict[str, Any] = json.loads(message)
    assert (code, published["rows"]) == (0, {"a1": 72})
    code, message = step("work", "--worker", "worker_1", "--deadline", LATER, "--drain")
    assert code == 0
    assert json.loads(message)["rows"] == {"weather_observations": 72}
    with psycopg.connect(database) as session:
        assert session.execute("SELECT count(*) FROM weather_observations").fetchone() == (72,)


def test_another_use_case_collects_its_own_stream_into_a_table_of_its_own(database: str, tmp_path: Path) -> None:
    # Given a database in which nobody made a table for it
    settings = Settings(lake=str(tmp_path / "lake"), broker=str(tmp_path / "landing"), database_url=SecretStr(database))
    context = open_context(ICE_CREAM, settings)
    day = date(2026, 6, 15)
    # When its collector and its worker have run
    published = collect.collect(context, collect.CollectArguments(use_case=ICE_CREAM, date=day, topic="tills", late=0))
    soon = datetime.now(UTC) + A_WHILE
    told = work.WorkArguments(use_case=ICE_CREAM, date=day, worker="till_worker", deadline=soon, drain=True)
    stored = work.work(context, told)
    # Then the day's sales are in the table that its worker made, as the file says them
    assert (published.rows, stored.rows) == ({"tills": 12}, {"kiosk_sales": 12})
    tables = TablesSource(database, context.use_case.spec, RAW, dict.fromkeys(RAW, TILLS))
    found = conform(tables.read("sales", day), RAW["sales"], "tables")
    wanted = conform(context.use_case.part("sources").source(settings).read("sales", day), RAW["sales"], "files")
    assert found.good.equals(wanted.good)
    assert tables.first_day == day
    tables.close()


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live collector in this process ends at its first pause, however long that takes to come."""
    monkeypatch.setattr(collect, "Shift", Mock(until=lambda _: shift_of_pauses(1)))


@pytest.mark.usefixtures("one_look")
def test_a_live_collector_brings_a_day_of_2013_to_today_and_goes_on_where_it_was(database: str, tmp_path: Path) -> None:
    # Given a collector that publishes live for a moment, and then another
    context = _context(database, tmp_path)

    def live() -> int:
        soon = datetime.now(UTC) + A_WHILE
        given = collect.CollectArguments(
            use_case=PACKAGE, date=soon.date(), topic="a1", late=0, live=True, deadline=soon
        )
        return collect.collect(context, given).rows["a1"]

    first, second = live(), live()
    # Then the first brings the last two days' observations, and the second what is new since
    assert 120 <= first <= 150
    assert second <= 3
    soon = datetime.now(UTC) + A_WHILE
    work.work(context, work.WorkArguments(use_case=PACKAGE, date=DAY, worker="worker_1", deadline=soon, drain=True))
    with psycopg.connect(database) as session:
        row = session.execute("SELECT max(known_at), count(*) FROM weather_observations").fetchone()
    assert row is not None
    assert row[1] >= first
    assert timedelta(0) <= datetime.now(UTC) - row[0] <= timedelta(hours=2)


@pytest.mark.usefixtures("one_look")
def test_a_live_collector_that_meets_another_log_publishes_the_last_two_days_to_it(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a collector that has published live to a landing folder
    def live(folder: str) -> int:
        context = _context(database, tmp_path, landing=folder)
        soon = datetime.now(UTC) + A_WHILE
        given = collect.CollectArguments(
            use_case=PACKAGE, date=soon.date(), topic="a1", late=0, live=True, deadline=soon
        )
        return collect.collect(context, given).rows["a1"]

    assert live("first") >= 120
    # When NIGHTSHIFT_BROKER names another, whose workers have seen nothing of it
    again = live("second")
    # Then it is given what a first collector publishes, once, and that is told
    assert again >= 120
    assert "collect: topic a1 is another log than before" in caplog.text
    assert live("second") <= 3
    # And so it is for a topic that was removed
    shutil.rmtree(tmp_path / "second" / "topics")
    assert live("second") >= 120


@pytest.mark.usefixtures("one_look")
def test_a_live_collector_that_has_just_begun_knows_all_flights_that_are_still_to_depart_today(
    database: str, tmp_path: Path
) -> None:
    # Given a first live collector and a shift
    context = _context(database, tmp_path)
    now = datetime.now(UTC)
    soon = now + A_WHILE
    collect.collect(
        context, collect.CollectArguments(use_case=PACKAGE, date=DAY, topic="a2", late=0, live=True, deadline=soon)
    )
    later = datetime.now(UTC) + timedelta(days=60)  # more milliseconds than PostgreSQL takes for a limit
    work.work(context, work.WorkArguments(use_case=PACKAGE, date=DAY, worker="worker_2", deadline=later, drain=True))
    # Then every flight that the schedule has from now on is in the table
    live = context.use_case.part("sources").sample(context.settings, live=True)
    day = now.astimezone(context.use_case.spec.zone).date()
    schedule = live.read("schedule", day).to_pylist()
    wanted = {flight["flight_id"] for flight in schedule if flight["scheduled_departure"] > now}
    with psycopg.connect(database) as session:
        stored = {flight_id for (flight_id,) in session.execute("SELECT flight_id FROM flights").fetchall()}
    assert wanted <= stored


@pytest.mark.parametrize(
    ("name", "argv", "code", "line"),
    [
        ("work", ("--worker", "worker_9", "--deadline", LATER), 78, "--worker worker_9 is none of worker_1, worker_2"),
        ("work", ("--worker", "worker_1", "--deadline", "2013-03-01T05:00:00+00:00"), 99, "the shift ended"),
        ("work", ("--worker", "worker_1", "--deadline", "2013-03-01T05:00:00"), 78, "--deadline"),
        ("collect", ("--topic", "a9"), 78, "--topic a9 is none of a1, a2; write one of these"),
        ("collect", ("--topic", "a1", "--live"), 78, "--live needs --deadline"),
        ("collect", ("--topic", "a1", "--late", "2"), 78, "--late"),
    ],
)
def test_a_wrong_argument_is_one_line_before_any_work(
    step: Step, name: str, argv: tuple[str, ...], code: int, line: str
) -> None:
    ended, message = step(name, *argv)
    assert (ended, line in message) == (code, True), message


def test_a_shift_without_a_database_ends_as_a_fault_that_says_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "Shift", Mock(until=lambda _: shift_of_pauses(2)))
    context = _context("postgresql://nobody@127.0.0.1:9/none", tmp_path)
    soon = datetime.now(UTC) + A_WHILE
    with pytest.raises(FaultError, match="nothing is lost, the next shift takes up the rest"):
        work.work(context, work.WorkArguments(use_case=PACKAGE, date=DAY, worker="worker_1", deadline=soon))


def _context(database: str, folder: Path, landing: str = "landing", **about: Any) -> Context:
    settings = Settings(
        lake=str(folder / "lake"), broker=str(folder / landing), database_url=SecretStr(database), **about
    )
    return open_context(PACKAGE, settings)


def test_tables_that_were_never_made_say_how_to_make_them(step: Step, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("DROP TABLE consumer_offsets")
    code, message = step("work", "--worker", "worker_1", "--deadline", LATER)
    assert code == 75
    assert "python -m include.database.migrate upgrade" in message


def test_draining_a_topic_that_is_not_there_says_so_and_is_not_done(step: Step) -> None:
    code, message = step("work", "--worker", "worker_1", "--deadline", LATER, "--drain")
    assert code == 78
    assert message.startswith("there is no topic a1 at file://")
    assert "correct NIGHTSHIFT_BROKER" in message
    assert "\n" not in message.strip()


def test_a_shift_deletes_old_segments_that_it_has_stored(database: str, tmp_path: Path) -> None:
    # Given a topic of several segments, landed three days ago, and a retention of two
    context = _context(database, tmp_path, landing_days=2)
    for hour in range(3):
        since = datetime(2013, 3, 1, 6 + hour, tzinfo=UTC)
        span = {"since": since, "until": since + timedelta(hours=1)}
        collect.collect(context, collect.CollectArguments(use_case=PACKAGE, date=DAY, topic="a1", late=0, **span))
    segments = sorted((tmp_path / "landing" / "topics").rglob("*.json"))
    for path in segments:
        old = time.time() - 3 * 86_400
        os.utime(path, (old, old))
    # When a shift has read them
    soon = datetime.now(UTC) + A_WHILE
    told = work.WorkArguments(use_case=PACKAGE, date=DAY, worker="worker_1", deadline=soon, drain=True)
    assert work.work(context, told).facts["expired_segments"] == len(segments) - 2
    # Then the newest of each partition is left, and the next shift has nothing to do
    assert len(list((tmp_path / "landing" / "topics").rglob("*.json"))) == 2
    assert work.work(context, told).rows == {"weather_observations": 0}


def test_a_timetable_that_names_another_table_than_the_topic_is_refused(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timetable = load_timetable(PACKAGE)
    assert timetable is not None
    wrong = timetable.workers[0].model_copy(update={"writes": "flights"})
    monkeypatch.setattr(work, "load_timetable", lambda _: timetable.model_copy(update={"workers": (wrong,)}))
    soon = datetime.now(UTC) + A_WHILE
    with pytest.raises(SettingsError, match=r"worker_1 take a1 into flights; streams.py knows a1 into weather"):
        work.work(
            _context(database, tmp_path),
            work.WorkArguments(use_case=PACKAGE, date=DAY, worker="worker_1", deadline=soon),
        )
