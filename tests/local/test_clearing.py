"""`make airflow ARGS="tasks clear …"` says what it came to."""

from __future__ import annotations

import psycopg
import pytest

from local.clearing import Clearing

pytestmark = pytest.mark.stack
ASKED = ["tasks", "clear", "nightly", "-t", "score", "--yes"]


@pytest.fixture
def airflow(database_url: str) -> str:
    """A database with a scheduled run, one by hand, and one of another DAG, as Airflow keeps them."""
    with psycopg.connect(database_url) as session:
        session.execute("CREATE TABLE dag_run (dag_id text, run_id text, clear_number int, logical_date timestamptz)")
        rows = "('nightly', 'scheduled', 0, now()), ('nightly', 'by hand', 0, NULL), ('other', 'by hand', 0, NULL)"
        session.execute(f"INSERT INTO dag_run VALUES {rows}")
    return database_url


def clear(airflow: str, argv: list[str], *run_ids: str) -> str:
    """What is said of a command that clears these runs."""
    clearing = Clearing.begun(airflow, argv)
    assert clearing is not None
    with psycopg.connect(airflow) as session:
        change = "UPDATE dag_run SET clear_number = clear_number + 1 WHERE dag_id = 'nightly' AND run_id = ANY(%s)"
        session.execute(change, (list(run_ids),))
    return clearing.told()


def test_what_was_cleared_is_counted(airflow: str) -> None:
    assert clear(airflow, ASKED, "scheduled", "by hand") == "cleared tasks in 2 of the 2 runs of nightly"


def test_that_nothing_was_cleared_is_said(airflow: str) -> None:
    assert clear(airflow, ASKED) == "cleared nothing"


@pytest.mark.parametrize("dates", [["-s", "2013-10-01"], ["--end-date=2013-10-01"], ["--start-date", "2013-10-01"]])
def test_that_dates_leave_out_runs_by_hand_is_said(airflow: str, dates: list[str]) -> None:
    said = clear(airflow, [*ASKED, *dates])
    assert said.startswith("cleared nothing; -s and -e look at logical dates")
    assert "(1 here): leave the dates out" in said


@pytest.mark.parametrize(
    "other", [["dags", "list"], ["tasks", "list", "nightly"], ["tasks", "clear"], ["tasks", "clear", "--help"], []]
)
def test_other_commands_are_left_alone(other: list[str]) -> None:
    assert Clearing.begun("postgresql://nobody@127.0.0.1:1/none", other) is None
