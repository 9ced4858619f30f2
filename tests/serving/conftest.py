"""A serving process that serves a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess


@pytest.fixture
def ready(serving: ServingProcess, tmp_path: Path) -> ServingProcess:
    """A server that serves version 7."""
    serving.deploy(*write(tmp_path, portable_bytes()), "7")
    return serving
