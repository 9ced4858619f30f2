"""A whole deployment for the steps after training; made only for tests that ask for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.factory import Factory
    from tests.serving_process import ServingProcess


@pytest.fixture
def factory(tmp_path: Path, tables_url: str, empty_registry: Path, serving: ServingProcess) -> Factory:
    """Lake, tables, registry and server, all empty."""
    from tests.factory import make_factory

    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return make_factory(tmp_path, tables_url, f"sqlite:///{tmp_path / 'mlflow.db'}", serving)
