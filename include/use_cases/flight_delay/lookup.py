"""How serving looks up flights: by their airport, with the airports and the weather readings beside them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from include.errors import DataError, FaultError
from include.predictions.lookup import Lookup
from include.use_cases.flight_delay.contracts import WEATHER
from include.use_cases.flight_delay.sources import PACKAGE, package_folder

FROM = {"faa": "code", "name": "name", "lat": "latitude", "lon": "longitude", "tzone": "time_zone"}
TYPES = {"faa": pa.string(), "name": pa.string(), "lat": pa.float64(), "lon": pa.float64(), "tzone": pa.string()}
AS_OF = "as_of"
SENSOR = tuple(column.name for column in WEATHER)
SENSOR_AGE = "weather_age"
"""How many minutes before as_of the reading became known."""
SENSOR_AT = "sensor_at"

_MICROSECONDS = 60_000_000


def airports() -> pa.Table:
    """Every airport of the package's airports.csv; one of unknown time zone has none."""
    options = csv.ConvertOptions(
        column_types=TYPES, include_columns=list(FROM), null_values=["", "NA"], strings_can_be_null=True
    )
    path = package_folder() / "airports.csv"
    try:
        return csv.read_csv(path, convert_options=options).rename_columns(list(FROM.values()))
    except OSError as error:
        raise FaultError(f"lookup: cannot read {path}: {error.strerror or error}; install {PACKAGE} again") from error


def beside(predictions: pa.Table, features: pa.Table) -> tuple[pa.Table, Mapping[str, pa.Table]]:
    """The predictions with the moment of the reading that each used; the airports they name, and these readings.

    `DataError` when the features lack a column of the sensor.
    """
    missing = [name for name in (*SENSOR, SENSOR_AGE) if name not in features.column_names]
    if missing:
        raise DataError(f"lookup: features lack {', '.join(missing)}; compute the features again with --force")
    known = _known_at(features[AS_OF], features[SENSOR_AGE])
    readings = _readings(predictions["origin"], known, features)
    return predictions.append_column(SENSOR_AT, known), {"locations": _locations(predictions), "readings": readings}


def _locations(predictions: pa.Table) -> pa.Table:
    chunks = [chunk for place in ("origin", "dest") for chunk in predictions[place].chunks]
    named, known = pa.chunked_array(chunks, pa.string()), airports()
    return known.filter(pc.is_in(known["code"], value_set=pc.unique(named))).sort_by("code")


def _readings(places: pa.ChunkedArray, known: pa.ChunkedArray, features: pa.Table) -> pa.Table:
    names = ["location", "known_at"]
    shown = pa.table([places, known, *(features[name] for name in SENSOR)], names=[*names, *SENSOR])
    shown = shown.filter(pc.is_valid(shown["known_at"]))
    # One thread: with several, the first of equal rows would be random.
    grouped = shown.group_by(names, use_threads=False).aggregate([(name, "first") for name in SENSOR])
    return grouped.rename_columns([*names, *SENSOR]).sort_by([(name, "ascending") for name in names])


def _known_at(as_of: pa.ChunkedArray, age: pa.ChunkedArray) -> pa.ChunkedArray:
    ago = pc.cast(pc.round(pc.multiply(pc.cast(age, pa.float64()), float(_MICROSECONDS))), pa.int64())
    return pc.subtract(as_of, pc.cast(ago, pa.duration("us")))


LOOKUP = Lookup(groups=("origin",), order="scheduled_departure", beside=beside)
