"""Predictions within the day: which examples are due soon, and where their features and predictions are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, Field, field_validator

from formats.names import none_of
from include.errors import SettingsError
from include.ingestion.shift_plan import Span
from include.step import StepArguments
from include.storage.lake import Dataset, Layer, Partition
from include.use_case import Horizon, UseCaseSpec

CLOCKS_APART = timedelta(minutes=1)
"""A shift may be over by one machine's clock and not yet by another's."""


class IntradayArguments(StepArguments):
    """Command-line arguments of the intraday steps.

    The examples are those whose as_of at `horizon` is in (moment - ahead, moment]. A row uses nothing that becomes
    known after its as_of, so no row knows the future.
    """

    horizon: str
    moment: AwareDatetime
    ahead: Span = Field(gt=timedelta(0))

    @field_validator("moment")
    @classmethod
    def _whole_minute(cls, moment: datetime) -> datetime:
        return moment.astimezone(UTC).replace(second=0, microsecond=0)

    @property
    def since(self) -> datetime:
        """The newest as_of that is too old."""
        return self.moment - self.ahead

    def dataset(self, layer: Layer) -> Dataset:
        """The features or predictions made at this moment; each moment is a dataset of its own."""
        return Dataset(layer, f"intraday/{self.horizon}/moment={self.moment:%Y%m%dT%H%MZ}")

    def partition(self, layer: Layer) -> Partition:
        """The partition of the features or predictions made at this moment."""
        return self.dataset(layer).on(self.date)

    def checked_horizon(self, spec: UseCaseSpec, now: datetime) -> Horizon:
        """The horizon of that name; `SettingsError` when there is none, or the moment is still to come."""
        if self.moment > now + CLOCKS_APART:
            raise SettingsError(f"--moment {self.moment.isoformat()} is in the future; choose one that has come")
        try:
            return spec.horizon(self.horizon)
        except StopIteration:
            known = [horizon.name for horizon in spec.horizons]
            raise SettingsError(f"--horizon {self.horizon!r} {none_of(self.horizon, known)}") from None
