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
