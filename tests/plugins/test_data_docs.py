"""Data Docs are a click away from the task, for whoever may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient

from include.links import DATA_DOCS
from include.step_specs import EXTRACT, SCORE, VALIDATE
from include.storage.store import open_store
from plugins.data_docs import app, lake
from plugins.pod_operator import StepPod

DAY = "ice_cream/data_day=2013-10-01"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[TestClient]:
    """A browser at the pages of a lake with one report in it."""
    folder = tmp_path / "ice_cream" / "data_docs" / "data_day=2013-10-01"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<h1>3 rows</h1>")
    (tmp_path / "ice_cream" / "secret.json").write_text("{}")
    app.dependency_overrides[lake] = lambda: open_store(str(tmp_path))
    yield TestClient(app)
    app.dependency_overrides.clear()


def test_nobody_sees_them_who_is_not_logged_in(browser: TestClient) -> None:
    assert browser.get(f"/{DAY}/index.html").status_code == 401


@pytest.fixture
def someone(browser: TestClient) -> TestClient:
    """The same, for somebody who is logged in."""
    app.dependency_overrides[get_user] = lambda: "someone"
    return browser


def test_who_is_logged_in_sees_them(someone: TestClient) -> None:
    page = someone.get(f"/{DAY}/index.html")

    assert (page.status_code, page.text) == (200, "<h1>3 rows</h1>")
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    [
        "/ice_cream/data_day=2013-10-02/index.html",
        "/ice_cream/%2e%2e/secret.json",
        "/ice_cream/data_day=2013-10-01/..%2f..%2fsecret.json",
        "/ice_cream/data_day=2013-10-01%2f..%2f..%2fsecret.json",
        "/ice_cream/data_day=2013-10-01/../../secret.json",
        "/ice_cream/..%5csecret.json",
        "/%2e%2e/ice_cream/index.html",
        "/%2e/ice_cream/data_docs/data_day=2013-10-01/index.html",
        f"/{DAY}",
        f"/{DAY}/",
        "/ice_cream/",
        f"/{DAY}/index.html/",
        f"/{DAY}/index.html/x",
        f"/{DAY}//index.html",
        f"/{DAY}/index.html%00",
        "/ice_cream/%00",
        "/ice%00cream/index.html",
        f"/{DAY}/{'x' * 300}.html",
        f"/{'x/' * 3000}x.html",
        f"/{DAY}/out.html",
        f"/{DAY}/outside/secret.json",
        f"/{DAY}/loop.html",
        "/ice_cream//etc/passwd",
        "/ice_cream/%2fetc%2fpasswd",
    ],
)
def test_nothing_else_of_the_machine_is_to_be_seen(someone: TestClient, tmp_path: Path, path: str) -> None:
    folder = tmp_path / "ice_cream" / "data_docs" / "data_day=2013-10-01"
    (folder / "out.html").symlink_to(tmp_path / "ice_cream" / "secret.json")
    (folder / "outside").symlink_to(tmp_path / "ice_cream")
    (folder / "loop.html").symlink_to("loop.html")

    assert someone.get(path).status_code == 404


def test_a_lake_that_is_a_link_itself_is_read(someone: TestClient, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    app.dependency_overrides[lake] = lambda: open_store(str(tmp_path / "link"))

    assert someone.get(f"/{DAY}/index.html").status_code == 200


def test_head_has_the_headers_of_get_and_no_body(someone: TestClient) -> None:
    got, asked = (someone.request(method, f"/{DAY}/index.html") for method in ("GET", "HEAD"))

    assert (asked.status_code, asked.content) == (200, b"")
    assert dict(asked.headers) == dict(got.headers)
    assert someone.head("/ice_cream/no/such.html").status_code == 404


def test_other_methods_are_told_which_ones_there_are(someone: TestClient) -> None:
    answer = someone.post(f"/{DAY}/index.html")

    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


def test_every_answer_takes_all_rights_from_the_page(browser: TestClient) -> None:
    refused = browser.get(f"/{DAY}/index.html")
    app.dependency_overrides[get_user] = lambda: "someone"
    answers = [refused, browser.get(f"/{DAY}/index.html"), browser.get("/ice_cream/no"), browser.post("/ice_cream/no")]

    assert [answer.status_code for answer in answers] == [401, 200, 404, 405]
    for answer in answers:
        policy = [rule.strip() for rule in answer.headers["content-security-policy"].split(";")]
        assert {"sandbox", "default-src 'none'"} <= set(policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_validation_task_links_to_its_days_report_even_if_it_failed(context: dict[str, Any]) -> None:
    task = StepPod(task_id="validate", step=VALIDATE, use_case="tests.use_cases.ice_cream", date="{{ '2013-10-01' }}")
    task.render_template_fields(context)
    (link,) = task.operator_extra_links
    assert link.name == "Data Docs"
    assert link.get_link(task, ti_key=None).endswith(f"{DATA_DOCS}/{DAY}/index.html")


def test_the_score_task_links_to_its_nights_predictions(context: dict[str, Any]) -> None:
    task = StepPod(task_id="score", step=SCORE, use_case="tests.use_cases.ice_cream", date="{{ '2013-10-01' }}")
    task.render_template_fields(context)
    (link,) = task.operator_extra_links
    assert link.name == "Predictions"
    assert link.get_link(task, ti_key=None).endswith(f"{DATA_DOCS}/{DAY}/predictions.html")


def test_other_tasks_do_not() -> None:
    task = StepPod(task_id="extract", step=EXTRACT, use_case="tests.use_cases.ice_cream", date="2013-10-01")
    assert not task.operator_extra_links
