"""A partition's lookup: its predictions, and tables that a use case puts beside them, as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from formats.lookup import FILE
from include import identity
from include.step import Context
from include.storage.lake import Dataset, Layer, Partition

Beside = Callable[[pa.Table, pa.Table], tuple[pa.Table, Mapping[str, pa.Table]]]


@dataclass(frozen=True)
class Lookup:
    """How serving looks up a use case's predictions, besides by key; the `LOOKUP` of its part `lookup`.

    `groups` are carried columns by which serving lists them, `order` the one that sorts a list (empty: the key).
    `beside(predictions, features)` answers the predictions, to which it may add columns, and tables by name, for the
    use case's own routes; `features` are the rows that the predictions were made from, in their order.
    """

    groups: tuple[str, ...] = ()
    order: str = ""
    beside: Beside | None = None

    def to_json(self, predictions: pa.Table, features: pa.Table, key: str) -> bytes:
        """A partition's lookup, as `formats.lookup.LookupFile` says.

        Canonical JSON: equal tables are equal bytes. Instants are UTC to the second.
        """
        extended, tables = self.beside(predictions, features) if self.beside else (predictions, {})
        body = {
            "key": key,
            "groups": self.groups,
            "order": self.order,
            "predictions": _columns(extended),
            "tables": {name: _columns(table) for name, table in tables.items()},
        }
        return (json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def publish_lookup(context: Context, predictions: Partition, features: Partition, *, force: bool = False) -> None:
    """Publish the lookup of published predictions; nothing where the use case has no such part.

    What is published stays unless forced, or made from other predictions, features or code.
    """
    lake, use_case = context.lake, context.use_case
    if not use_case.has_part("lookup"):
        return
    manifests = {one: manifest for one in (predictions, features) if (manifest := lake.manifest(one))}
    inputs = {str(one): manifest.sha256 for one, manifest in manifests.items()} | identity.lookup(use_case.spec)
    target = Dataset(Layer.LOOKUPS, predictions.dataset.name).on(predictions.day)
    published = lake.manifest(target)
    if published and not force and inputs.items() <= published.inputs.items():
        return
    key = use_case.spec.key
    predicted = lake.read_as(manifests[predictions], predictions)
    made_from = lake.read_as(manifests.get(features) or lake.require(features), features)
    made_from = made_from.take(pc.index_in(predicted[key], value_set=made_from[key].combine_chunks()))
    content = use_case.part("lookup").LOOKUP.to_json(predicted, made_from, key)
    lake.publish(target, {FILE: content}, inputs=inputs, force=force or published is not None)


def _columns(table: pa.Table) -> dict[str, Sequence[Any]]:
    return {name: _plain(table[name]) for name in table.column_names}


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = pc.strftime(pc.cast(column, pa.timestamp("s", "UTC"), safe=False), "%Y-%m-%dT%H:%M:%SZ")
    elif pa.types.is_date(column.type):
        column = pc.cast(column, pa.string())
    elif pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    values: list[Any] = column.to_pylist()
    return values
