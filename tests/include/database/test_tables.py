from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from include.database import migrate
from include.database.address import libpq_url, sqlalchemy_url
from include.database.tables import Base, Tables
from include.errors import CodeError, FaultError
from include.ingestion import records
from include.settings import Settings
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.stack


# Migrations


def test_migrations_go_forwards_backwards_and_forwards_again(database_url: str) -> None:
    seen = []
    for act in (migrate.upgrade, lambda url: migrate.downgrade(url, "base"), migrate.upgrade):
        act(database_url)
        with psycopg.connect(database_url) as session:
            found = session.execute("SELECT to_regclass('dead_letters') IS NOT NULL").fetchone()
        seen.append((found, migrate.current(database_url)))

    assert seen == [((True,), migrate.head()), ((False,), None), ((True,), migrate.head())]


def test_what_was_served_before_there_were_releases_stays_in_a_table_of_its_own(database_url: str) -> None:
    # Given the tables of an older release, with a deployment in them
    row = ("flight_delay", "1", "file:///1.onnx", "0" * 64, date(2013, 10, 1), "nightly", "serving", "a night")
    names = "use_case, version, model_uri, sha256, trained_through, reason, state, actor, started_at"
    migrate.upgrade(database_url, "0004")
    with psycopg.connect(database_url) as session:
        session.execute(f"INSERT INTO deployments ({names}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())", row)

    # When they are brought up to date, and back
    migrate.upgrade(database_url)
    with psycopg.connect(database_url) as session:
        kept = session.execute("SELECT version, state FROM deployments_before_releases").fetchall()
    migrate.downgrade(database_url, "0002")
    with psycopg.connect(database_url) as session:
        again = session.execute("SELECT version, state FROM deployments").fetchall()

    # Then nothing is lost
    assert kept == again == [("1", "serving")]


def test_the_migrated_tables_are_the_models_tables(tables_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    engine = create_engine(sqlalchemy_url(tables_url))
    with engine.connect() as connection:
        # Revision 0002 also made two tables that are a use case's: their workers hold them to their streams.
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in Base.metadata.tables}
        context = MigrationContext.configure(
            connection, opts={"version_table": migrate.VERSION_TABLE, "compare_type": True, **ours}
        )
        assert records.ConsumerOffset.__tablename__ in Base.metadata.tables
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_file_names_tell_the_newest_revision() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrate.FOLDER))

    assert ScriptDirectory.from_config(config).get_heads() == [migrate.head()]


def test_upgrading_what_is_up_to_date_imports_neither_alembic_nor_sqlalchemy(tables_url: str) -> None:
    script = """
import sys
from include.database.migrate import main
code = main(["upgrade"])
print(code, *sorted({"alembic", "sqlalchemy"} & set(sys.modules)))
"""

    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"NIGHTSHIFT_DATABASE_URL": tables_url},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout.splitlines() == [f"tables at revision {migrate.head()}, newest {migrate.head()}", "0"]


def test_two_upgrades_at_once_wait_for_one_another(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as first:
        # Given an upgrade under way
        first.execute("SELECT pg_advisory_lock(%s)", [migrate.LOCK])
        second = subprocess.Popen(
            [sys.executable, "-m", "include.database.migrate", "upgrade"],
            cwd=ROOT,
            env={"NIGHTSHIFT_DATABASE_URL": database_url},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        # When a second one starts, Then it waits, and goes on when the first is done
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: first.execute(waits).fetchone() == (1,))
        assert second.poll() is None
        assert migrate.current(database_url) is None
    errors = second.communicate(timeout=PATIENCE)[1].decode()

    assert second.returncode == 0, errors
    assert migrate.current(database_url) == migrate.head()


def test_a_wrong_command_says_how(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_DATABASE_URL", database_url)

    assert migrate.main(["sideways"]) == 78
    assert "usage: python -m include.database.migrate upgrade" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgres"])
def test_an_address_may_name_any_driver(scheme: str) -> None:
    assert sqlalchemy_url(f"{scheme}://u:p@h:1/db") == "postgresql+psycopg://u:p@h:1/db"
    assert libpq_url(f"{scheme}://u:p@h:1/db") == "postgresql://u:p@h:1/db"


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "postgresql+asyncpg", "postgres"])
def test_migrate_takes_the_address_of_any_driver(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_DATABASE_URL", database_url.replace("postgresql", scheme, 1))

    assert migrate.main(["current"]) == 0
    assert capsys.readouterr().out.startswith("tables at revision none")


# What can go wrong


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secretpw@h/d",
        "host=h user=u password=secretpw dbname=d",
        "h.internal:5432/d",
        "postgresql://u:secretpw%zz@h/d",
        "postgresql://u:secretpw@h:port/d",
        "postgresql://u:secretpw@h/d?password=secretpw&nonsense=1",
    ],
)
def test_what_is_no_address_of_postgresql_is_refused_in_one_line_by_the_settings_name(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"NIGHTSHIFT_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}

    ended = subprocess.run(
        [sys.executable, "-m", "include.database.migrate", "current"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 78
    assert re.fullmatch(r"NIGHTSHIFT_DATABASE_URL.*write it as postgresql://.*\n", ended.stderr)
    assert "secretpw" not in ended.stderr


def test_a_database_that_is_down_is_one_line_after_bounded_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.database.tables.PAUSE_SECONDS", 0.01)
    settings = Settings(database_url="postgresql://someone:secret@127.0.0.1:1/nightshift")

    with pytest.raises(FaultError) as down:
        Tables.open(settings)

    assert "PostgreSQL at postgresql+psycopg://someone:***@127.0.0.1:1/nightshift does not answer (4 tries)" in str(
        down.value
    )
    assert "make up" in str(down.value)
    assert "\n" not in str(down.value)
    assert "secret" not in str(down.value)


def test_a_database_without_tables_says_how_to_make_them(database_url: str) -> None:
    tables = Tables.open(Settings(database_url=database_url))

    missing = r'relation "dead_letters" does not exist; .*include\.database\.migrate upgrade'
    with pytest.raises(FaultError, match=missing), tables.session() as session:
        session.execute(text("SELECT * FROM dead_letters"))


def test_only_what_a_migration_mends_is_told_to_be_migrated(database_url: str) -> None:
    tables = Tables.open(Settings(database_url=database_url))
    with pytest.raises(FaultError, match="bring its tables up to date"), tables.session() as session:
        session.execute(text("SELECT nonsense FROM pg_class"))
    with pytest.raises(CodeError, match="syntax error") as wrong, tables.session() as session:
        session.execute(text("SELEC 1"))
    assert "migrate" not in str(wrong.value)
