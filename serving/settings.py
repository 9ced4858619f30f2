"""A server's settings, as `SERVING_*` environment variables name them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.fetch import MODEL_BYTES


class ServingSettings(BaseSettings):
    """Where the server listens, who may deploy to it, and where it remembers what it serves.

    `state` is a folder that holds `current.json`; without `token` nobody can deploy.
    """

    model_config = SettingsConfigDict(env_prefix="SERVING_", env_ignore_empty=True, frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8890, ge=0, le=65535)
    token: SecretStr | None = None
    state: Path = Path(".nightshift/serving")
    s3_endpoint: str | None = None
    model_bytes: int = MODEL_BYTES

    # Published predictions

    lake: str | None = None
    """Where batch predictions are published: a folder, `file://…` or `s3://…`; none: there is nothing to look up."""
    use_case: str = "flight_delay"
    """Whose predictions: the folder of that name in the lake."""
    published_days: int = Field(default=7, ge=1, le=400)
    """How many of the newest published days are held in memory (about 1 MB a day of 1,000 flights)."""
    published_poll_seconds: float = Field(default=5.0, gt=0)

    # Telemetry

    access_log: bool = True
    """Whether each request is a line in the log."""
    sample_share: float = Field(default=0.1, ge=0, le=1)
    """The share of answered requests whose rows are kept in the lake's `samples/`; nothing is kept without a lake."""
    sample_rows_per_second: float = Field(default=100, gt=0)
    """At most so many rows are picked to be kept, on average (by each worker), whatever the load."""
    sample_seconds: float = Field(default=60, gt=0)
    """A file of samples is published when its first row is so old, or when it has 4 MiB."""
    otlp_endpoint: str | None = None
    """An OpenTelemetry collector, such as `http://collector:4318`; none: tracing is off and not even imported."""
    trace_share: float = Field(default=1.0, ge=0, le=1)
    """The share of the traces beginning here that is recorded; a caller's own decision is followed."""
