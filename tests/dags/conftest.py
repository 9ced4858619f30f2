"""What tests of the DAGs share: the parsed DAG files, and an Airflow in which to run one."""

from __future__ import annotations

import tests.airflow_home  # noqa: F401 (before anything of Airflow)

# isort: split
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from tests.airflow_home import ROOT


@pytest.fixture(scope="session")
def bag() -> DagBag:
    """All DAG files, parsed with no use case named: the one that ships."""
    return DagBag(ROOT / "dags")


@pytest.fixture(scope="session")
def nightly(bag: DagBag) -> DAG:
    """The nightly DAG of the use case that ships."""
    return bag.dags["flight_delay_nightly_training"]
