"""Who may do what in the embedded PostgreSQL: a role for each database, and none of them a superuser."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

SUPERUSER = "nightshift"
"""The launcher's, and nobody else's."""
TABLES = "tables"
OWNERS = {"airflow": "airflow", "mlflow": "mlflow", "nightshift": TABLES}
"""Each database and the role that owns it: a leak of one service's password opens no other database."""

_RIGHTS = SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION")

# What an older cluster, without roles, left with the superuser: it now belongs to the database's owner.
_LEFT_BEHIND = """
SELECT format('ALTER SCHEMA %I OWNER TO %I', nspname, {owner})
FROM pg_namespace WHERE nspowner = current_user::regrole AND nspname !~ '^pg_' AND nspname <> 'information_schema'
UNION ALL SELECT format('ALTER %s %s OWNER TO %I', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, pg_class.oid::regclass, {owner})
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT (relkind = 'S' AND EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype IN ('a', 'i')))
UNION ALL SELECT format('ALTER TYPE %s OWNER TO %I', pg_type.oid::regtype, {owner})
FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
WHERE typowner = current_user::regrole AND typtype IN ('e', 'd', 'r')
AND nspname !~ '^pg_' AND nspname <> 'information_schema'
UNION ALL SELECT format('ALTER ROUTINE %s OWNER TO %I', pg_proc.oid::regprocedure, {owner})
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE proowner = current_user::regrole AND nspname !~ '^pg_' AND nspname <> 'information_schema'
"""


def divide(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Give each database to a role of its own with that role's password, whatever there is already."""
    with psycopg.connect(superuser_url, autocommit=True) as session:
        roles = {str(row[0]) for row in session.execute("SELECT rolname FROM pg_roles")}
        owners: dict[str, str] = dict(
            session.execute("SELECT datname, datdba::regrole::text FROM pg_database").fetchall()
        )
        for database, role in OWNERS.items():
            name, place = Identifier(role), Identifier(database)
            # As the server would keep it: no log of a statement holds the password.
            kept = session.pgconn.encrypt_password(passwords[role].encode(), role.encode(), b"scram-sha-256")
            verb = SQL("ALTER" if role in roles else "CREATE")
            session.execute(SQL("{} ROLE {} {} PASSWORD {}").format(verb, name, _RIGHTS, Literal(kept.decode())))
            if database not in owners:
                session.execute(SQL("CREATE DATABASE {} OWNER {}").format(place, name))
            elif owners[database] != role:
                _hand_over(make_conninfo(superuser_url, dbname=database), role)
                session.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(place, name))
        for database in (*OWNERS, "postgres", "template1"):
            session.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(database)))


def _hand_over(superuser_url: str, role: str) -> None:
    with psycopg.connect(superuser_url) as session:
        for (statement,) in session.execute(SQL(_LEFT_BEHIND).format(owner=Literal(role))).fetchall():
            session.execute(statement)
