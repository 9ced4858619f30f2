"""The way to MLflow: what its client is told of the deployment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.registry.tracking import open_client
from include.settings import Settings


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", None])
def test_plots_and_reports_go_to_the_s3_of_the_settings(
    endpoint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL")
    open_client(Settings(tracking_url=f"sqlite:///{tmp_path / 'mlflow.db'}", s3_endpoint=endpoint))
    assert os.environ.get("MLFLOW_S3_ENDPOINT_URL") == endpoint
