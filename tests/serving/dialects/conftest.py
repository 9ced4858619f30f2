"""A server of version 7 of the tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.portable_files import portable_bytes
from tests.serving.dialects.dialects import deploy, serving


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Somebody who asks it."""
    folder: Path = tmp_path_factory.mktemp("dialects")
    with serving(folder) as found:
        deploy(found, folder, portable_bytes(), "7")
        yield found
