"""The routes that a use case brings: found by their package, or refused in one line before anything is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from formats.variables import VariableError
from serving.settings import ServingSettings
from serving.use_case_part import load_part
from tests.serving_process import ROOT, ROUTES
from tests.waiting import PATIENCE

PACKAGE = ROUTES["SERVING_ROUTES"]
PLACE = {"SERVING_RELEASES": "releases"}


def test_the_settings_of_a_use_cases_routes_are_known_with_them_and_not_without() -> None:
    own = {"SERVING_FORECAST_SECONDS": "0.5"} | PLACE
    assert ServingSettings.load(own | ROUTES).routes == (PACKAGE,)
    with pytest.raises(VariableError, match="SERVING_FORECAST_SECONDS is not a setting"):
        ServingSettings.load(own)
    with pytest.raises(VariableError, match="SERVING_FORECAST_SECONDS: Input should be greater than 0"):
        ServingSettings.load(own | {"SERVING_FORECAST_SECONDS": "0"} | ROUTES)


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("nobody.knows.this", "SERVING_ROUTES: there is no package nobody.knows.this; correct the name"),
        ("formats", "SERVING_ROUTES: formats has no module part; it holds PART"),
    ],
)
def test_routes_that_are_not_there_are_refused_in_one_line(package: str, said: str) -> None:
    with pytest.raises(VariableError) as refused:
        load_part(package)
    assert str(refused.value) == said


@pytest.mark.stack
def test_a_server_with_routes_that_are_not_there_does_not_start(tmp_path: Path) -> None:
    for package in ("nobody.knows.this", "formats"):
        environment = {"SERVING_STATE": str(tmp_path), "SERVING_PORT": "0", "SERVING_ROUTES": package} | PLACE
        asked = [sys.executable, "-m", "serving"]
        done = subprocess.run(
            asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert (done.returncode, "SERVING_ROUTES: " in done.stderr) == (78, True), done.stderr


@pytest.mark.stack
def test_the_image_has_all_that_the_routes_of_its_use_cases_import(tmp_path: Path) -> None:
    dockerfile = (ROOT / "docker" / "serving" / "Dockerfile").read_text(encoding="utf-8")
    copied = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY ") and "docker/" not in line]
    for name in copied:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    absent = [
        "pandas",
        "pyarrow",
        "pyspark",
        "mlflow",
        "sklearn",
        "airflow",
        "great_expectations",
        "psycopg",
        "sqlalchemy",
    ]
    script = (
        f"import sys; sys.modules |= dict.fromkeys({absent})\n"
        "from serving.settings import ServingSettings\n"
        "from serving.app import create_app\n"
        f"app = create_app(ServingSettings(routes={PACKAGE!r}, releases='releases'))\n"
        "print(sorted(app.openapi()['paths']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "/v1/forecast" in done.stdout
