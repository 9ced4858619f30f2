"""The address of PostgreSQL, as each library wants it written."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from include.errors import SettingsError

FORM = "postgresql://user:password@host:port/name, with %XX for what is no letter or digit in a password"
_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)


def sqlalchemy_url(url: str) -> str:
    """A `postgresql://…` address, whatever driver it names, as SQLAlchemy opens it; `SettingsError` for another."""
    return f"postgresql+psycopg://{_rest(url)}"


def libpq_url(url: str) -> str:
    """A `postgresql+driver://…` address as libpq reads it; `SettingsError` for another."""
    return f"postgresql://{_rest(url)}"


def _rest(url: str) -> str:
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise SettingsError(f"NIGHTSHIFT_DATABASE_URL is no address of PostgreSQL; write it as {FORM}")
    rest = url[scheme.end() :]
    try:
        ports = str(conninfo_to_dict(f"postgresql://{rest}").get("port") or "")
    except psycopg.Error as error:
        raise SettingsError(f"NIGHTSHIFT_DATABASE_URL: {str(error).strip()}; write it as {FORM}") from None
    if not all(port.isdecimal() for port in ports.split(",") if port):
        raise SettingsError(f"NIGHTSHIFT_DATABASE_URL: its port is no number; write it as {FORM}")
    return rest
