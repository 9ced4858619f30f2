"""How a partition's folder is named: by its data day, in the form that query engines read as a column."""

from __future__ import annotations

from datetime import date

DATA_DAY = "data_day"
"""The column that engines make from the folder's name, so no file has one of this name."""


def day_folder(day: date) -> str:
    """The name of a day's folder within its dataset."""
    return f"{DATA_DAY}={day.isoformat()}"


def day_of(partition: str) -> date | None:
    """The day of a partition such as `raw/sales/data_day=2013-10-01`; None for a name that is no partition's."""
    name, _, day = partition.rpartition("/")[2].partition("=")
    try:
        return date.fromisoformat(day) if name == DATA_DAY else None
    except ValueError:
        return None


def dataset_of(partition: str) -> str:
    """The dataset of a partition, such as `raw/sales`; a name that is no partition's as it is."""
    return partition.rpartition("/")[0] if day_of(partition) else partition
