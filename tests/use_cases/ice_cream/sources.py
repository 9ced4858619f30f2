"""Where plans and sales come from: two CSV files beside this module."""

from __future__ import annotations

from pathlib import Path

from include.settings import Settings
from include.sources.source import Source
from include.sources.tabular import Files, TabularSource
from tests.use_cases.ice_cream.spec import SPEC


def source(settings: Settings) -> Source:
    """The use case's source; the files are in the repository, so nothing of the deployment matters."""
    return TabularSource(
        (Path(__file__).parent / "data").as_uri(),
        {"plans": Files("plans.csv", date_column="date"), "sales": Files("sales.csv", date_column="date")},
        first_day=SPEC.first_day,
        last_day=SPEC.last_day,
        s3_endpoint=settings.s3_endpoint,
    )


def sample(settings: Settings, *, live: bool = False) -> Source:
    """What collectors publish; there is nothing newer to publish live."""
    return source(settings)
