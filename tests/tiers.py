"""What a test needs beside Python: read from its fixtures, and held while it runs.

A test without a mark is in the fast lane (`make test-fast`) and may start no server, no JVM and no Python of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

NEEDS = {"airflow", "spark", "stack"}
"""Marks of tests that start something."""
LATER = NEEDS | {"slow"}
"""Marks that keep a test out of the fast lane."""

STARTED_BY_TYPE = {
    "Guarded": "stack",
    "KafkaServer": "stack",
    "Popen": "stack",
    "PostgresServer": "stack",
    "ServingProcess": "stack",
    "SparkSession": "spark",
    "Stage": "stack",
    "UpstreamProcess": "stack",
}
"""What a fixture starts, by a word of the type that it says to hand out."""
STARTED_BY_NAME = {"postgres": "stack"}
APART = Path(__file__).parent / "replicas"
"""A tier of its own: its tests run only when they are named, and then fail without what they need."""
SMALL = {"git", "ldconfig", "lscpu", "make", "sh", "uname"}
"""Programs that end at once; any test may call them."""


def started(item: pytest.Item) -> set[str]:
    """The marks that a test gets from the fixtures it uses, by whatever way it comes to them."""
    found: set[str] = set()
    definitions = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    for name, fixtures in definitions.items():
        said = str(fixtures[-1].func.__annotations__.get("return", ""))
        found |= {mark for word, mark in STARTED_BY_TYPE.items() if word in said}
        found |= {STARTED_BY_NAME[name]} if name in STARTED_BY_NAME else set()
    return found


def apart(path: Path, named: Sequence[str]) -> bool:
    """Whether a file or folder is of the tier apart, which pytest's arguments do not name."""
    of_it = APART in (path, *path.parents)
    return of_it and not any(APART in (one := Path(name.split("::")[0]).absolute(), *one.parents) for name in named)


def sort(items: list[pytest.Item]) -> None:
    """Mark each test, and put whole files in the order of what they need: the short ones fill what time is left."""
    needs: dict[Path, set[str]] = {}
    for item in items:
        for mark in sorted(started(item)):
            item.add_marker(mark)
        needs.setdefault(item.path, set()).update(LATER & {mark.name for mark in item.iter_markers()})
    items.sort(key=lambda item: -len(needs[item.path]))


class Guard:
    """Refuses to start a program for a test that does not say so; one of them goes for the whole session.

    What is taken down is not looked at: with its last test a session stops the servers of all tests before.
    """

    def __init__(self) -> None:
        self._watched: pytest.Item | None = None
        sys.addaudithook(self._hear)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test and the making of its fixtures."""
        self._watched = None if any(mark.name in NEEDS for mark in item.iter_markers()) else item
        try:
            return (yield)
        finally:
            self._watched = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Let the fixtures go as they like."""
        self._watched = None

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if self._watched is None or event not in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            return
        program = _program(event, details)
        if program not in SMALL:
            raise NotMarkedError(
                f"{self._watched.nodeid} starts {program}: mark it `stack` (or `spark`, `airflow`), so that the fast "
                "lane leaves it out"
            )


class NotMarkedError(RuntimeError):
    """A test of the fast lane started a program."""


def _program(event: str, details: tuple[Any, ...]) -> str:
    if event == "os.fork":
        return "a process by fork"
    argv = details[1] if event == "subprocess.Popen" else details[0]
    first = argv if isinstance(argv, (str, bytes)) else argv[0]
    return Path(first.decode() if isinstance(first, bytes) else str(first)).name
