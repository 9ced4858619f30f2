"""Airports and their weather stations, as serving looks them up."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import csv

from include.errors import FaultError
from include.predictions.lookup import Lookup
from include.use_cases.flight_delay.contracts import WEATHER
from include.use_cases.flight_delay.sources import PACKAGE, package_folder

FROM = {"faa": "code", "name": "name", "lat": "latitude", "lon": "longitude", "tzone": "time_zone"}
TYPES = {"faa": pa.string(), "name": pa.string(), "lat": pa.float64(), "lon": pa.float64(), "tzone": pa.string()}


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


SENSOR = tuple(column.name for column in WEATHER)
LOOKUP = Lookup(places=("origin", "dest"), sensor=SENSOR, sensor_age="weather_age", locations=airports)
