"""Data Docs are a click away from the task, for whoever may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient

from include.step_specs import EXTRACT, VALIDATE
from include.storage.store import FileStore
from plugins.data_docs import app, lake
from plugins.data_docs_link import PREFIX
from plugins.pod_operator import StepPod

DAY = "ice_cream/date=2013-10-01"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[TestClient]:
    """A browser at the pages of a lake with one report in it."""
    folder = tmp_path / "ice_cream" / "data_docs" / "date=2013-10-01"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<h1>3 rows</h1>")
    (tmp_path / "ice_cream" / "secret.json").write_text("{}")
    app.dependency_overrides[lake] = lambda: FileStore(tmp_path)
    yield TestClient(app)
    app.dependency_overrides.clear()


def test_nobody_sees_them_who_is_not_logged_in(browser: TestClient) -> None:
    assert browser.get(f"/{DAY}/index.html").status_code == 401


def test_who_is_logged_in_sees_them_and_nothing_else_of_the_lake(browser: TestClient) -> None:
    app.dependency_overrides[get_user] = lambda: "someone"
    page = browser.get(f"/{DAY}/index.html")
    assert (page.status_code, page.text) == (200, "<h1>3 rows</h1>")
    assert page.headers["content-type"].startswith("text/html")
    for elsewhere in ("date=2013-10-02/index.html", "%2e%2e/secret.json", "date=2013-10-01/..%2f..%2fsecret.json"):
        assert browser.get(f"/ice_cream/{elsewhere}").status_code == 404, elsewhere


def test_the_validation_task_links_to_its_days_report_even_if_it_failed(context: dict[str, Any]) -> None:
    task = StepPod(task_id="validate", step=VALIDATE, use_case="tests.use_cases.ice_cream", date="{{ '2013-10-01' }}")
    task.render_template_fields(context)
    (link,) = task.operator_extra_links
    assert link.name == "Data Docs"
    assert link.get_link(task, ti_key=None).endswith(f"{PREFIX}/{DAY}/index.html")


def test_other_tasks_do_not() -> None:
    task = StepPod(task_id="extract", step=EXTRACT, use_case="tests.use_cases.ice_cream", date="2013-10-01")
    assert not task.operator_extra_links
