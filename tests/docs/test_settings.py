"""The tables of settings, which are made from the models."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest

from docs.reference import settings
from formats.variables import VariablesModel
from include.settings import KNOWN, PREFIX, RunVariables, Settings
from local.settings_file import SETTABLE, read_settings_file
from local.stack import REPOSITORY
from serving.settings import ServingSettings

EVERY: tuple[type[VariablesModel], ...] = (*settings.PIPELINE, ServingSettings, *dict(settings.routes()).values())
PAGES = [settings.README, *settings.README.parent.joinpath("docs").rglob("*.md")]


def test_the_page_and_the_readme_are_of_the_models_in_the_repository() -> None:
    readme = settings.README.read_text(encoding="utf-8")
    assert settings.PAGE.read_text(encoding="utf-8") == settings.page(), "it is stale: make reference"
    assert readme == settings.with_table(readme), "it is stale: make reference"


def test_every_variable_that_a_person_may_set_is_a_row_with_a_meaning() -> None:
    documented = {row.variable: row.meaning for row in settings.settings(*EVERY)}
    known = {f"{PREFIX}{name.upper()}" for name in KNOWN} | {name for model in EVERY for name in model.variables()}
    assert documented.keys() == known - set(RunVariables.variables())
    assert [variable for variable, meaning in documented.items() if not meaning] == []
    page = settings.page()
    assert [row for row in documented if f"| `{row}` |" not in page] == []


def test_a_default_is_written_as_the_variable_would_hold_it() -> None:
    for model in EVERY:
        for name, row in zip(model.model_fields, settings.settings(model), strict=True):
            assert getattr(model.read({row.variable: row.default}), name) == getattr(model(), name), row.variable


class _Wider(Settings):
    PREFIX: ClassVar[str] = PREFIX
    speed: int = 3
    """Rows a second; more than `lake` has is no error.

    In two paragraphs.
    """


def test_a_new_field_is_a_row_without_further_work() -> None:
    row = list(settings.settings(_Wider))[-1].row()
    assert row == (
        "| `NIGHTSHIFT_SPEED` | `3` | Rows a second; more than `NIGHTSHIFT_LAKE` has is no error. In two paragraphs |"
    )


def test_a_default_that_prose_repeats_is_the_models() -> None:
    """As in `SERVING_DRAIN_SECONDS` (10), or (default 0.1)."""
    repeated = re.compile(r"`((?:NIGHTSHIFT|SERVING)_\w+)`(?: \(|[^`(]*\(default )([\d.]+)[);]")
    defaults = {row.variable: row.default for row in settings.settings(*EVERY)}
    said = [found for page in PAGES for found in repeated.findall(page.read_text(encoding="utf-8"))]
    assert len(said) >= 4
    assert [(variable, number) for variable, number in said if defaults[variable] != number] == []


@pytest.mark.parametrize("name", sorted(SETTABLE - {"pod_runtime"}))
def test_the_settings_file_that_ships_repeats_the_defaults(name: str) -> None:
    value = read_settings_file(REPOSITORY / "airflow_settings.yaml").variables.get(f"nightshift_{name}", "")
    defaults = {row.variable: row.default for row in settings.settings(*settings.PIPELINE)}
    assert value in ("", defaults[Settings.variable(name)])
