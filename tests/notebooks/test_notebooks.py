"""Every notebook runs from top to bottom on the lake and the MLflow of a night."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from include.steps.register import RegisterArguments, register
from tests.include import learning
from tests.include.conftest import empty_registry
from tests.include.learning import LAST, PACKAGE

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 240
"""A cell fits a model in a few seconds; a busy machine may take much longer."""

__all__ = ["empty_registry"]

pytestmark = [pytest.mark.slow, pytest.mark.stack]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> dict[str, str]:
    """What a night leaves: features, candidates, a decision and a registered champion; as a stack's environment."""
    folder = tmp_path_factory.mktemp("night")
    tracking_url = f"sqlite:///{shutil.copy(empty_registry, folder / 'mlflow.db')}"
    made = learning.context(folder, tracking_url)
    learning.fill(made.lake)
    learning.night(made, LAST)
    register(made, RegisterArguments.model_validate({"use_case": PACKAGE, "date": LAST}))
    return {
        "NIGHTSHIFT_USE_CASES": PACKAGE,
        "NIGHTSHIFT_LAKE": str(folder / "lake"),
        "NIGHTSHIFT_ARTIFACTS": str(folder / "artifacts"),
        "NIGHTSHIFT_TRACKING_URL": tracking_url,
        "PYTHONPATH": str(ROOT),
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, night: dict[str, str]) -> None:
    notebook = nbformat.read(path, as_version=4)

    NotebookClient(notebook, timeout=SECONDS).execute(cwd=str(ROOT / "notebooks"), env={**os.environ, **night})

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_showed(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells

    assert not [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 3
