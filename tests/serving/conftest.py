"""A serving process of its own for each test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving_process import ServingProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServingProcess]:
    process = ServingProcess(tmp_path / "state").start()
    yield process
    process.stop(signal.SIGKILL)
