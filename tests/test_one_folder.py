"""A use case is one folder: no file outside it knows what a flight, an airport or a weather station is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLATFORM = (
    ".ci", "airflow_settings.yaml", "benchmarks", "dags", "docker", "formats", "include", "infra", "local", "Makefile",
    "plugins", "serving", "spark_jobs", "stores",
)  # fmt: skip
"""What is the same for any use case. Documentation and tests may speak of the one that ships."""
OF_FLIGHT_DELAY = {
    "include/use_cases/flight_delay": "the use case itself",
    "benchmarks/flight_delay": "its benchmarks",
    "include/database/migrations/versions/0002_ingestion.py": "was applied, so it stays; its workers keep these tables",
}
WORDS = re.compile(r"flight|airport|airline|aircraft|carrier|tailnum|weather|station|departure|arrival", re.IGNORECASE)
IN_FLIGHT = re.compile(r"in[-_ ]flight", re.IGNORECASE)
"""Requests and messages that are under way."""


def files() -> Iterator[Path]:
    """The platform's text files, except those that are flight delay's."""
    for name in PLATFORM:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            own = path.relative_to(ROOT).as_posix()
            if path.is_file() and "__pycache__" not in path.parts and not own.startswith(tuple(OF_FLIGHT_DELAY)):
                yield path


def found(text: str) -> list[str]:
    """The lines with a word of flight delay, in a name, a text or a comment."""
    return [line.strip() for line in text.splitlines() if WORDS.search(IN_FLIGHT.sub("", line))]


def test_nothing_outside_its_folder_knows_of_flights() -> None:
    offences = [
        f"{path.relative_to(ROOT)}: {line}" for path in files() for line in found(path.read_text(encoding="utf-8"))
    ]
    assert offences == []


def test_what_may_speak_of_flights_does() -> None:
    for place in OF_FLIGHT_DELAY:
        path = ROOT / place
        texts = [path] if path.is_file() else path.rglob("*.py")
        assert any(found(text.read_text(encoding="utf-8")) for text in texts), f"{place}: no longer needs its exception"


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("flights: dict[str, float]", True),
        ('f"no prediction of {carrier}"', True),
        ("class WeatherStation:", True),
        ("requests_in_flight = 3", False),
        ("IN_FLIGHT = 10_000", False),
        ("in-flight flights", True),
    ],
)
def test_a_word_of_flights_is_found_wherever_it_stands(line: str, known: bool) -> None:
    assert bool(found(line)) is known
