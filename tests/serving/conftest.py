"""A serving process of its own for each test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServingProcess]:
    process = ServingProcess(tmp_path / "state").start()
    yield process
    process.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A server that serves a model, shared by tests that only ask it."""
    folder = tmp_path_factory.mktemp("serving")
    process = ServingProcess(folder / "state").start()
    process.deploy(*write(folder, portable_bytes()), "7")
    yield process
    process.stop(signal.SIGKILL)
