"""The settings of the chain and its forecast, as `SERVING_*` environment variables name them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, HttpUrl, SecretStr

from formats.variables import VariablesModel


class ChainSettings(VariablesModel):
    """The upstreams of location → sensor → prediction, and how long a forecast over them may take and is kept."""

    PREFIX: ClassVar[str] = "SERVING_"

    location_url: HttpUrl | None = None
    """Answers `?flight_id=` as /v1/location does; none: this server's own. Likewise the next two."""
    sensor_url: HttpUrl | None = None
    """Answers `?location=` as /v1/sensor does."""
    prediction_url: HttpUrl | None = None
    """Answers `?flight_id=&location=&known_at=` as /v1/prediction does."""
    upstream_token: SecretStr | None = None
    """Sent to these URLs as a bearer token."""
    upstream_seconds: float = Field(default=15.0, gt=0)
    """How long one of them may take, hedged call included."""
    forecast_seconds: float = Field(default=1.0, gt=0)
    """How long a forecast is waited for; the app that asks has 2 s."""
    forecast_refresh_seconds: float = Field(default=30.0, gt=0)
    """A forecast this old is made again when it is asked for."""
    forecast_fresh_seconds: float = Field(default=60.0, gt=0)
    """An older one is answered as stale."""
    forecast_keep_seconds: float = Field(default=6 * 3600.0, gt=0)
    """An older one is not answered at all."""
    forecast_missing_seconds: float = Field(default=15.0, gt=0)
    """How long it is believed that there is none."""
    forecast_entries: int = Field(default=5_000, ge=1)
    """How many are held (about 1.5 kB each); the least recently used are dropped first."""
    forecast_loads: int = Field(default=128, ge=1)
    """How many are being made at the same time."""


SETTINGS = ChainSettings
