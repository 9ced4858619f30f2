"""`make run` looks at a package before its first night, and refuses its mistakes before anything is started."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include.errors import ExitCode
from include.settings import Settings
from include.storage.lake import Dataset, Lake, Layer
from local.run import run
from local.services import Services
from tests.use_case_copy import copied


class StartedError(Exception):
    """The run went on to start things."""


def services(package: str, lake: Path) -> Services:
    """A deployment of which nothing can be started."""

    def locked() -> Any:
        raise StartedError

    stack = SimpleNamespace(use_cases=package)
    return cast(Services, SimpleNamespace(stack=stack, settings=Settings(lake=str(lake)), locked=locked))


def test_a_first_run_with_a_mistake_is_refused_with_its_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied(tmp_path, {"gates.py": ('("kiosk",)', '("town",)'), "label.py": None}) as package:
        code = run(services(package, tmp_path / "lake"), "2026-06-15")
    assert code == ExitCode.BAD_SETTINGS
    printed = capsys.readouterr().out
    assert "gates.py: GATES.slices: town is no column of feature_contract.py" in printed
    assert "label.py: labels: there is no such file" in printed
    assert "copied: 2 findings" in printed


def test_a_sound_package_is_run(tmp_path: Path) -> None:
    with copied(tmp_path, {}) as package, pytest.raises(StartedError):
        run(services(package, tmp_path / "lake"), "2026-06-15")


def test_a_package_that_has_had_a_night_is_not_looked_at_again(tmp_path: Path) -> None:
    lake = Lake.open(Settings(lake=str(tmp_path / "lake")), "ice_cream")
    lake.publish(Dataset(Layer.PREDICTIONS, "morning").on(date(2026, 6, 15)), {"note": b""})
    with copied(tmp_path, {"gates.py": ('("kiosk",)', '("town",)')}) as package, pytest.raises(StartedError):
        run(services(package, tmp_path / "lake"), "2026-06-16")
