"""SQL over the lake: every table by its name, as its Delta log has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from formats.names import none_of
from include.errors import DataError
from include.storage.delta_log import DeltaLog
from include.storage.lake import TABLES, Lake

if TYPE_CHECKING:
    from include.step import Context


def query(context: Context, sql: str) -> pa.Table:
    """What DuckDB answers to a statement whose tables are the lake's, such as `predictions.nightly`.

    A horizon's predictions within the day are `predictions."intraday/two_hours"`. Raises `DataError` for a statement
    that DuckDB refuses, and for a table that is not there.
    """
    import duckdb

    with duckdb.connect() as connection:
        for layer in TABLES:
            connection.execute(f"CREATE SCHEMA {layer}")
        try:
            for name in sorted(connection.get_table_names(sql, qualified=True)):
                layer, _, dataset = name.replace('"', "").partition(".")
                if layer not in TABLES:
                    continue  # one that the statement makes itself
                table = DeltaLog(context.lake, f"{layer}/{dataset}", s3_endpoint=context.settings.s3_endpoint).open()
                if table is None:
                    raise DataError(f"lake: {layer}.{dataset} {none_of(f'{layer}.{dataset}', tables(context.lake))}")
                connection.register(f"{layer}/{dataset}", table.to_pyarrow_dataset())
                connection.execute(f'CREATE VIEW {layer}."{dataset}" AS FROM "{layer}/{dataset}"')
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise DataError(f"query: {' '.join(str(error).split())}") from None


def tables(lake: Lake) -> list[str]:
    """The names of all tables, such as `raw.sales`."""
    names = (
        name.removeprefix(f"{lake.prefix}/") for layer in TABLES for name in lake.store.names(f"{lake.prefix}/{layer}")
    )
    return sorted({name.partition("/_delta_log/")[0].replace("/", ".", 1) for name in names if "/_delta_log/" in name})
