"""The buttons on a task that open the Data Docs it has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperatorLink

from include.links import FRONT_PAGE, PREDICTIONS_PAGE, data_docs
from include.use_case import load_use_case

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class DataDocsLink(BaseOperatorLink):  # type: ignore[misc]
    """Leads to the report of the task's data day, whether its data passed or not."""

    name = "Data Docs"
    page: ClassVar[str] = FRONT_PAGE

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address under Airflow's own."""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}{data_docs(load_use_case(operator.use_case).name, operator.date, self.page)}"


class PredictionsLink(DataDocsLink):
    """Leads to the page of what was predicted in the task's night."""

    name = "Predictions"
    page: ClassVar[str] = PREDICTIONS_PAGE
