"""A lake that holds published predictions, made as the score steps make them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pyarrow as pa

from formats.lookup import FILE
from include.settings import Settings
from include.storage.lake import Dataset, Lake, Layer, Partition
from include.use_cases.flight_delay.lookup import LOOKUP
from tests.factory import features, schedule

DAY = date(2013, 10, 1)
UTC_US = pa.timestamp("us", "UTC")


class PublishedLake:
    """Publishes days of a few flights; each publication's probabilities are all the one it is told."""

    def __init__(self, root: Path | str, *, s3_endpoint: str | None = None) -> None:
        self.lake = Lake.open(Settings(lake=str(root), s3_endpoint=s3_endpoint), "flight_delay")
        self.uri = str(root)

    def publish(
        self, dataset: str, day: date = DAY, *, probability: float, as_of: datetime, rows: int = 6, version: str = "7"
    ) -> Partition:
        """Publish a horizon's day, over what was there; its lookup's partition."""
        made_from = features(day, rows).sort_by("flight_id")
        instants = pa.array([as_of] * rows, UTC_US)
        made_from = made_from.set_column(1, "as_of", instants)
        predictions = (
            schedule(day, rows)
            .drop_columns("date")
            .sort_by("flight_id")
            .append_column("as_of", instants)
            .append_column("probability", pa.array([probability] * rows))
            .append_column("model_version", pa.array([version] * rows))
        )
        predicted, partition = Dataset(Layer.PREDICTIONS, dataset).on(day), Dataset(Layer.LOOKUPS, dataset).on(day)
        self.lake.publish(predicted, {"predictions.parquet": predictions}, force=True)
        self.lake.publish(partition, {FILE: LOOKUP.to_json(predictions, made_from, "flight_id")}, force=True)
        return partition

    def lookup_file(self, partition: Partition) -> Path:
        """Where a partition's lookup lies, in a lake that is a folder."""
        (file,) = self.lake.require(partition).files
        return Path(self.uri) / "flight_delay" / str(partition) / file.name
