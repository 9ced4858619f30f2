"""A partition's lookup: its predictions, their places and the sensor readings they used, as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from formats.lookup import FILE, LOCATION
from include import identity
from include.errors import DataError
from include.step import Context
from include.storage.lake import Dataset, Layer, Partition

AS_OF = "as_of"
SENSOR_AT = "sensor_at"

_MICROSECONDS = 60_000_000


@dataclass(frozen=True)
class Lookup:
    """Which of a use case's columns are places and sensor readings; the `LOOKUP` of its part `lookup`.

    `places` are the example's columns that name a location, first the one whose sensor is read. `sensor` are the
    feature columns of a reading, `sensor_age` the one that says how many minutes before as_of it became known.
    `locations` answers all locations, with the columns `LOCATION`.
    """

    places: tuple[str, ...]
    sensor: tuple[str, ...]
    sensor_age: str
    locations: Callable[[], pa.Table]

    def to_json(self, predictions: pa.Table, features: pa.Table, key: str) -> bytes:
        """A partition's lookup; `features` are the rows that the predictions were made from, in their order.

        Canonical JSON: equal tables are equal bytes. Instants are UTC to the second. `DataError` when the features lack
        a column of the sensor.
        """
        missing = [name for name in (*self.sensor, self.sensor_age) if name not in features.column_names]
        if missing:
            raise DataError(f"lookup: features lack {', '.join(missing)}; compute the features again with --force")
        known = _known_at(features[AS_OF], features[self.sensor_age])
        body = {
            "key": key,
            "location": self.places[0],
            "predictions": _columns(predictions.append_column(SENSOR_AT, known)),
            "locations": _columns(self._locations(predictions)),
            "readings": _columns(self._readings(predictions[self.places[0]], known, features)),
        }
        return (json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()

    def _locations(self, predictions: pa.Table) -> pa.Table:
        named = pa.chunked_array([chunk for place in self.places for chunk in predictions[place].chunks], pa.string())
        locations = self.locations().select(list(LOCATION))
        return locations.filter(pc.is_in(locations["code"], value_set=pc.unique(named))).sort_by("code")

    def _readings(self, places: pa.ChunkedArray, known: pa.ChunkedArray, features: pa.Table) -> pa.Table:
        names = ["location", "known_at"]
        shown = pa.table([places, known, *(features[name] for name in self.sensor)], names=[*names, *self.sensor])
        shown = shown.filter(pc.is_valid(shown["known_at"]))
        # One thread: with several, the first of equal rows would be random.
        grouped = shown.group_by(names, use_threads=False).aggregate([(name, "first") for name in self.sensor])
        return grouped.rename_columns([*names, *self.sensor]).sort_by([(name, "ascending") for name in names])


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


def _known_at(as_of: pa.ChunkedArray, age: pa.ChunkedArray) -> pa.ChunkedArray:
    ago = pc.cast(pc.round(pc.multiply(pc.cast(age, pa.float64()), float(_MICROSECONDS))), pa.int64())
    return pc.subtract(as_of, pc.cast(ago, pa.duration("us")))


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
