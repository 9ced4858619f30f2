"""SQL over the lake of the stack that runs: `make query SQL='…'`."""

from __future__ import annotations

from include.errors import ExitCode, SettingsError
from include.packages import first_package
from include.step import open_context
from include.storage.query import query
from local.services import Services


def show(services: Services, use_case: str, sql: str) -> int:
    """Answer a statement over the lake's tables, such as raw.sales, as a table."""
    if not sql:
        raise SettingsError("query: there is no statement; write make query SQL='SELECT …'")
    import duckdb

    answer = query(open_context(use_case or first_package(services.stack.use_cases), services.settings), sql)
    print(duckdb.from_arrow(answer))
    return ExitCode.DONE
