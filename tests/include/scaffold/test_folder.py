"""`make new` writes a use case that works as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from formats.task import Task
from include.check.command import check, static_verdict
from include.errors import ExitCode, SettingsError
from include.scaffold.__main__ import main
from include.scaffold.folder import write
from include.storage.lake import Dataset, Layer
from tests.use_cases.nights import night, opened

PREDICTED = {Task.BINARY: "probability", Task.MULTICLASS: "class", Task.REGRESSION: "prediction"}


@pytest.fixture(params=list(Task))
def task(request: pytest.FixtureRequest) -> Task:
    found: Task = request.param
    return found


@pytest.fixture
def folder(tmp_path: Path, task: Task) -> Iterator[Path]:
    """A new use case of the task; Python forgets it afterwards."""
    before = list(sys.path)
    yield write(str(tmp_path / f"new_{task}"), task)
    sys.path[:] = before
    for module in [each for each in sys.modules if each.partition(".")[0] == f"new_{task}"]:
        del sys.modules[module]


def test_it_has_no_mistake(folder: Path) -> None:
    assert static_verdict(str(folder)).mistakes == ()


@pytest.mark.stack
def test_it_is_in_the_style_of_the_house(folder: Path) -> None:
    command = [sys.executable, "-m", "ruff"]
    assert subprocess.run([*command, "check", folder], check=False).returncode == 0
    assert subprocess.run([*command, "format", "--check", folder], check=False).returncode == 0


@pytest.mark.spark
def test_its_night_ends_in_predictions(spark: SparkSession, folder: Path, task: Task, tmp_path: Path) -> None:
    context, day = opened(str(folder), tmp_path), date(2026, 6, 20)

    night(context, day)

    predictions = context.lake.read(Dataset(Layer.PREDICTIONS, "evening_before").on(date(2026, 6, 21)))
    assert predictions.num_rows == 20
    assert predictions[PREDICTED[task]].null_count == 0


@pytest.mark.spark
@pytest.mark.parametrize("task", [Task.REGRESSION], indirect=True)
def test_its_features_do_not_know_the_future(spark: SparkSession, folder: Path) -> None:
    [verdict] = check([str(folder)], static=False)

    assert verdict.exit_code is ExitCode.DONE, verdict.lines(verbose=True)


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    write(str(tmp_path / "mine"), Task.BINARY)

    with pytest.raises(SettingsError, match="is there already; choose another name"):
        write(str(tmp_path / "mine"), Task.BINARY)


def test_a_name_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--use-case", str(tmp_path / "My-Case"), "--task", "regression"])

    assert code is ExitCode.BAD_SETTINGS
    assert "'My-Case' is no name; write small letters, digits and _" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
