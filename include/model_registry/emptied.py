"""A registry that is empty beside predictions: its database is away or another one, and no night is the first again."""

from __future__ import annotations

from include.errors import FaultError
from include.masking import masked
from include.model_registry.versions import Registry
from include.step import Context
from include.storage.lake import Dataset, Layer


def require_versions(context: Context, registry: Registry) -> None:
    """Raise a `FaultError` if the registry has no version, and the lake has predictions, which only a version makes."""
    if registry.versions():
        return
    datasets = [Dataset(Layer.PREDICTIONS, horizon.name) for horizon in context.use_case.spec.horizons]
    if days := [day for dataset in datasets for day in context.lake.days(dataset)]:
        raise FaultError(
            f"MLflow at {masked(registry.url)} has no version of {registry.name}, but the lake has predictions that "
            f"one made (the newest are of {max(days)}); bring its database back, correct NIGHTSHIFT_TRACKING_URL, or "
            "begin an empty registry with --force"
        )
