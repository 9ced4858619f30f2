"""Functions that only one step calls are called by the check, and held to what the step reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.check.called import check_called
from include.check.sample import CheckSample, read_sample
from include.settings import Settings
from include.step import open_context
from tests.use_case_copy import FLIGHT_DELAY, Edits, copied

LOOKUP = """import pyarrow as pa
from include.predictions.lookup import Lookup

def beside(predictions, features):
    return predictions.append_column("heat", features["forecast"]), {"towns": pa.table({"name": ["Rome"]})}

LOOKUP = Lookup(groups=("kiosk",), beside=beside)
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
        ("pa.table({", 'open("/nowhere/towns.csv").read({', "lookup.py:5: LOOKUP.beside: FileNotFoundError: "),
        ('features["forecast"]', 'features["heat"]', "lookup.py:5: LOOKUP.beside: KeyError: "),
        (
            "return predictions",
            "return 1, predictions",
            "LOOKUP.beside: answers a tuple; answer the predictions",
        ),
        ('pa.table({"name": ["Rome"]})', '["Rome"]', "LOOKUP.beside: towns: is a list; answer a pyarrow Table"),
    ],
)
def test_what_no_lookup_can_put_beside_predictions_is_found(old: str, new: str, said: str, tmp_path: Path) -> None:
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
