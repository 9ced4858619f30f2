"""`python -m include.database.migrate upgrade`: the tables of NIGHTSHIFT_DATABASE_URL, brought to the newest revision.

`upgrade [revision]`, `downgrade revision` (`base`: no table at all) and `current`. Quick when there is nothing to do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.database.address import libpq_url
from include.errors import ExitCode, FaultError, SettingsError, StepError
from include.excerpt import first_line
from include.masking import mask_output
from include.settings import load_settings

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
VERSION_TABLE = "nightshift_revision"
LOCK = 6_447_744
"""The advisory lock of a migration: any number, the same for all."""
USAGE = "python -m include.database.migrate upgrade [REVISION] | downgrade REVISION | current"


def head() -> str:
    """The newest revision, by its file's name: looking costs no import."""
    return max(path.stem.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*_*.py"))


def current(url: str) -> str | None:
    """The revision a database is at; None when it has no tables of ours. `FaultError` when it does not answer."""
    try:
        with psycopg.connect(libpq_url(url), connect_timeout=5) as session:
            found = session.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone()
            if found is None or found[0] is None:
                return None
            row = session.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 (a constant)
            return None if row is None else str(row[0])
    except psycopg.OperationalError as error:
        raise FaultError(
            f"PostgreSQL does not answer: {first_line(error)}; start it (`make up`) or correct NIGHTSHIFT_DATABASE_URL"
        ) from error


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the tables to a revision, the newest by default; two callers at once wait for one another."""
    if current(url) == (head() if revision == "head" else revision):
        return
    from alembic import command

    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the tables back to a revision; `base` removes them."""
    from alembic import command

    command.downgrade(_config(url), revision)


def _config(url: str) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def main(argv: Sequence[str]) -> int:
    """The command line; its exit codes are a step's."""
    try:
        url = load_settings().require("database_url")
        match list(argv):
            case ["upgrade", *revision] if len(revision) <= 1:
                upgrade(url, *revision)
            case ["downgrade", revision]:
                downgrade(url, revision)
            case ["current"]:
                pass
            case _:
                raise SettingsError(f"usage: {USAGE}")
        print(f"tables at revision {current(url) or 'none'}, newest {head()}")
    except StepError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.DONE)


if __name__ == "__main__":
    mask_output()
    raise SystemExit(main(sys.argv[1:]))
