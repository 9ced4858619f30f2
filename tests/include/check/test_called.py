"""Functions that only one step calls are called by the check, and held to what the step reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.check.called import check_called
from include.check.sample import CheckSample, read_sample
from include.settings import Settings
from include.step import open_context
from tests.use_case_copy import FLIGHT_DELAY, Edits, copied

CODES = "['Arno', 'Brera', 'Corso']"
LOOKUP = f"""import pyarrow as pa
from include.predictions.lookup import Lookup

def kiosks():
    return pa.table({{
        "code": {CODES}, "name": ["a", "b", "c"], "latitude": [44.0] * 3, "longitude": [9.0] * 3,
        "time_zone": ["Europe/Rome", None, None],
    }})

LOOKUP = Lookup(places=("kiosk",), sensor=("forecast",), sensor_age="sold_out_rate", locations=kiosks)
"""


def found(package: str, lake: Path, sample: CheckSample | None = None) -> list[str]:
    """What is found when a package's functions are called."""
    context = open_context(package, Settings(lake=str(lake)))
    return list(map(str, check_called(context, sample or read_sample(context))))


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> CheckSample:
    """A sample of flight delay."""
    lake = tmp_path_factory.mktemp("lake")
    return read_sample(open_context(FLIGHT_DELAY, Settings(lake=str(lake))))


def test_sound_packages_answer_what_steps_read(flights: CheckSample, tmp_path: Path) -> None:
    assert found(FLIGHT_DELAY, tmp_path, flights) == []
    with copied(tmp_path, {"lookup.py": LOOKUP}) as package:
        assert found(package, tmp_path / "lake") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pa.table({", 'open("/nowhere/kiosks.csv").read({', "lookup.py:5: LOOKUP.locations: FileNotFoundError: "),
        ("pa.table({", "dict({", "lookup.py: LOOKUP.locations: answers a dict; answer a pyarrow Table"),
        ('"latitude"', '"lat"', "LOOKUP.locations: answers no column latitude; answer code, name, latitude, longitude"),
        ("[44.0] * 3", "['44'] * 3", "LOOKUP.locations: latitude: is a string; answer double, in degrees"),
        ("[44.0] * 3", "[4400.0] * 3", "LOOKUP.locations: latitude: goes beyond 90 degrees; correct the unit or the"),
        ("'Brera'", "'Arno'", "LOOKUP.locations: code: Arno comes 2 times; answer one row for each"),
        ("'Brera'", "None", "LOOKUP.locations: code: is empty in 1 rows; leave out what has no code"),
        ("Europe/Rome", "Roma", "LOOKUP.locations: time_zone: Roma is no time zone; write an IANA name"),
        (CODES, "['A', 'B', 'C']", "LOOKUP.locations: code: knows none of the examples' kiosk, such as Arno; answer"),
        ("=kiosks)", "=kiosks())", "LOOKUP.locations: is a Table; name a function that answers a table"),
    ],
)
def test_locations_that_no_lookup_can_use_are_found(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in LOOKUP
    with copied(tmp_path, {"lookup.py": LOOKUP.replace(old, new)}) as package:
        (line,) = found(package, tmp_path / "lake")
    assert said in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edits", "said"),
    [
        (
            {"streams.py": ("yield TimedRecord(record", "yield (record")},
            "streams.py: events of a1: answers a tuple; answer Ti",
        ),
        (
            {"streams.py": ('"known_at"], record)', '"known_at"], {})')},
            "streams.py: events of a1: no worker would take",
        ),
        ({"sources.py": ("return NycFlights13(", "return dict(")}, "sources.py: sample: answers a dict"),
    ],
)
def test_events_that_no_worker_would_take_are_found(
    edits: Edits, said: str, flights: CheckSample, tmp_path: Path
) -> None:
    with copied(tmp_path, edits, FLIGHT_DELAY) as package:
        lines = found(package, tmp_path / "lake", flights)
    assert any(said in line for line in lines), lines
