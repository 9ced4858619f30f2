"""A whole deployment for the steps after training; made only for tests that ask for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.factory import Factory
    from tests.serving_process import ServingProcess


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a version: making one takes seconds, copying it none."""
    from include.model_registry.versions import Registry
    from include.settings import Settings

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Registry.open(Settings(tracking_url=f"sqlite:///{path}"), "flight_delay").versions()
    return path


@pytest.fixture
def factory(tmp_path: Path, database_url: str, empty_registry: Path, serving: ServingProcess) -> Factory:
    """Lake, tables, registry and server, all empty."""
    from include.database import migrate
    from tests.factory import make_factory

    migrate.upgrade(database_url)
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return make_factory(tmp_path, database_url, f"sqlite:///{tmp_path / 'mlflow.db'}", serving)
