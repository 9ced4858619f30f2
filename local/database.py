"""A session with one of the stack's databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from include.errors import FaultError
from include.excerpt import first_line


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection]:
    """A transaction in a PostgreSQL; `FaultError`, without the password, when it does not answer or refuses us."""
    try:
        with psycopg.connect(plain_url(url), connect_timeout=10) as connection:
            yield connection
    except psycopg.Error as error:
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
        raise FaultError(f"PostgreSQL at {where}: {first_line(error)}; is it up, and is its address right?") from None


def plain_url(url: str) -> str:
    """A SQLAlchemy address of PostgreSQL as libpq reads it: without the driver."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"
