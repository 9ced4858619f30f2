"""Access to MLflow: one client, bounded retries, and one clear line when it does not answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from include.errors import FaultError, SettingsError, StepError
from include.masking import masked
from include.settings import Settings
from include.stop import within

if TYPE_CHECKING:
    from mlflow import MlflowClient

ATTEMPTS = 3
PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 5
ANSWER_SECONDS = 120.0
"""Longer than MLflow's own attempts together: a hanging database would block it for ever."""

# MLflow's own defaults try for minutes; the orchestrator retries a step, so a call need not. It also draws progress
# bars into logs, and adds the project files of the folder that it happens to run in to a model.
_MLFLOW_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def open_client(settings: Settings) -> MlflowClient:
    """A client of the deployment's MLflow (a server's `http://…`, or its `postgresql://…` store without a server).

    Raises `FaultError` when it does not answer after `ATTEMPTS` tries, `SettingsError` when no address is set.
    """
    url = settings.require("tracking_url")
    if "://" not in url:
        raise SettingsError(f"NIGHTSHIFT_TRACKING_URL {masked(url)!r} is no address; write http://{masked(url)}")
    _wait_for(url)
    for name, value in _MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    if settings.s3_endpoint:
        os.environ["MLFLOW_S3_ENDPOINT_URL"] = settings.s3_endpoint  # else it would take plots to AWS
    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with reported(url):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=url, registry_uri=url)


@contextmanager
def reported(url: str) -> Iterator[None]:
    """Turn an error inside MLflow into one line that names its address, without its password."""
    try:
        with within(ANSWER_SECONDS, f"MLflow at {masked(url)} does not answer"):
            yield
    except StepError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise FaultError(f"MLflow at {masked(url)} failed: {type(error).__name__}: {first}") from error


def _wait_for(url: str) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _knock(url)
        except Exception as error:
            if attempt == ATTEMPTS:
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise FaultError(
                    f"MLflow at {masked(url)} does not answer ({ATTEMPTS} tries): {reason}; "
                    "start it (`make up`) or correct NIGHTSHIFT_TRACKING_URL"
                ) from error
            sleep(PAUSE_SECONDS * attempt)
        else:
            return


def _knock(url: str) -> None:
    scheme = urlsplit(url).scheme
    if scheme.startswith("postgresql"):
        import psycopg

        psycopg.connect(url.replace(scheme, "postgresql", 1), connect_timeout=CONNECT_SECONDS).close()
    elif scheme in ("http", "https"):
        import socket

        address: Any = (urlsplit(url).hostname, urlsplit(url).port or (443 if scheme == "https" else 80))
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
