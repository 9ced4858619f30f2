"""Addresses in Airflow's UI, for the pages of other UIs that lead back to it."""

from __future__ import annotations

import os
from datetime import date
from urllib.parse import quote

from formats.partition import DATA_DAY
from include.settings import RunVariables, Settings

DATA_DOCS = "/data-docs"
"""Where Airflow's API server answers with the Data Docs (`plugins/data_docs.py`)."""

FRONT_PAGE, PREDICTIONS_PAGE = "index.html", "predictions.html"
"""Pages of a data day's Data Docs."""


def data_docs(use_case: str, day: date | str, page: str = FRONT_PAGE) -> str:
    """A page of a data day's Data Docs, below Airflow's address."""
    return f"{DATA_DOCS}/{use_case}/{DATA_DAY}={day}/{page}"


def links(settings: Settings, use_case: str, day: date) -> dict[str, str]:
    """Where a step's data day and its run are shown, by what is there; nothing where Airflow has no address."""
    base = settings.airflow_url.rstrip("/")
    if not base:
        return {}
    found = {"Data Docs": f"{base}{data_docs(use_case, day)}"}
    if run := os.environ.get(RunVariables.variable("run")):
        dag, run_id, _ = run.split("/")
        found["Airflow run"] = f"{base}/dags/{quote(dag, safe='')}/runs/{quote(run_id, safe='')}"
    return found
