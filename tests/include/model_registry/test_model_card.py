"""A card says what its night published, and no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from include.model_registry.experiments import DatasetUsed
from include.model_registry.model_card import ModelCard
from include.model_registry.versions import Draft, Role
from include.modelling.recipe import Estimator, Gates, Recipe
from tests.small_case import SPEC

SCORES = {"rows": 400, "auc": 0.75, "brier": 0.2}
REPORT: dict[str, Any] = {
    "rows": 900,
    "window": {"fit_through": "2026-05-20", "first": "2026-05-21", "last": "2026-05-22"},
    "scores": {"morning": SCORES},
    "folds": [{"fitted_rows": 700}],
    "slices": {"morning/shop/north": SCORES},
    "calibration": {"morning": [{"rows": 40, "predicted": 0.1, "observed": 0.125}]},
    "importance": {"age": 0.25},
}
DRAFT = Draft(
    run_key="2026-05-22/rates/ab",
    day=date(2026, 5, 22),
    trained_through=date(2026, 5, 22),
    candidate="rates",
    recipe=Recipe("rates", Estimator.HISTORICAL_RATES, ("age",), {"max_rows": 10}),
    role=Role.NIGHTLY,
    approved=False,
    model_uri="file:///lake/models/ab.onnx",
    sha256="ab" * 32,
    mlflow_run="run",
    description="**Not promoted**: none is better.",
)
DECISION = {"remark": "", "trials": {"rates": {"failures": ["calibration error 0.090 is above 0.060"]}}}
DATA = (DatasetUsed("features/morning", "file:///lake", 21, "2026-05-02", "2026-05-22", "cd" * 32),)


def card(**changed: Any) -> ModelCard:
    values: dict[str, Any] = {
        "spec": SPEC,
        "gates": Gates(slices=("shop",)),
        "draft": DRAFT,
        "report": REPORT,
        "decision": DECISION,
        "datasets": DATA,
        "pictures": {"calibration.png": b"png"},
        "links": {"Data Docs": "http://airflow/data-docs"},
    }
    return ModelCard(**values | changed)


def test_it_tells_data_decision_quality_and_limits() -> None:
    text = card().markdown()

    for line in (
        "# small: rates, trained through 2026-05-22",
        "[Data Docs](http://airflow/data-docs)",
        "| parameters | max_rows 10 |",
        "Fitted on 900 labelled rows, known by the end of 2026-05-22.",
        "| features/morning | 21 | 2026-05-02 | 2026-05-22 | cdcdcdcdcdcdcdcd |",
        "**Not promoted**: none is better.",
        "| morning | 400 | 0.75 | 0.2 |",
        "| morning/shop/north | 400 | 0.75 | 0.2 |",
        "| 40 | 0.1 | 0.125 |",
        "| age | 0.25 |",
        "- It has seen the days 2026-05-02 … 2026-05-22, and nothing of other seasons.",
        "- Calibration error 0.090 is above 0.060.",
    ):
        assert line in text.splitlines(), line


def test_a_backtest_has_seen_less() -> None:
    draft = replace(DRAFT, role=Role.BACKTEST, trained_through=date(2026, 5, 20))

    text = card(draft=draft).markdown()

    assert "Fitted on 700 labelled rows, known by the end of 2026-05-20." in text
    assert "- It has seen the days 2026-05-02 … 2026-05-20, and nothing of other seasons." in text


def test_markup_in_the_name_of_a_slice_takes_no_effect() -> None:
    name = "morning/shop/<b>|[x](http://elsewhere)"
    shown = card(report={**REPORT, "slices": {name: SCORES}})

    assert "&lt;b&gt;|[x](http://elsewhere)</td>" in shown.html()


def test_few_slices_and_many_are_said() -> None:
    many = {f"morning/shop/{number}": {**SCORES, "rows": 400 + number} for number in range(23)}

    assert "None has 300 rows." in card(report={**REPORT, "slices": {}}).markdown()
    text = card(report={**REPORT, "slices": many}).markdown()
    assert "3 smaller ones are in report.json." in text
    assert "| morning/shop/22 | 422 |" in text
    assert "| morning/shop/2 |" not in text
