"""What the images are built from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.stack
def test_the_files_that_are_copied_to_fetch_spark_jars_are_all_that_it_imports(tmp_path: Path) -> None:
    dockerfile = (ROOT / "docker" / "spark" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    before = dockerfile[: dockerfile.index("python -m include.spark_jars")]
    for names, folder in re.findall(r"^COPY ((?:\w+/\w+\.py +)+)(\w+)/$", before, re.MULTILINE):
        (tmp_path / folder).mkdir()
        for name in names.split():
            shutil.copyfile(ROOT / name, tmp_path / name)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    asked = [sys.executable, "-c", "import include.spark_jars"]
    done = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.stack
@pytest.mark.parametrize("image", ["step", "spark"])
def test_an_image_of_steps_installs_the_locks_of_the_use_cases_in_it(image: str, tmp_path: Path) -> None:
    dockerfile = (ROOT / "docker" / image / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^RUN (for lock in .*)$", dockerfile, re.MULTILINE)
    (pip := tmp_path / "bin" / "pip").parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$*" in *broken*) exit 1 ;; esac\n')
    pip.chmod(0o755)

    def built(*use_cases: str) -> int:
        for name in use_cases:
            (tmp_path / "include" / "use_cases" / name).mkdir(parents=True)
            (tmp_path / "include" / "use_cases" / name / "requirements.lock").touch()
        environment = {"PATH": f"{pip.parent}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=False).returncode

    assert built() == 0 and not (tmp_path / "asked").exists()
    assert built("flight_delay", "yours") == 0
    assert re.findall(r"--require-hashes --requirement (\S+)", (tmp_path / "asked").read_text()) == [
        "include/use_cases/flight_delay/requirements.lock",
        "include/use_cases/yours/requirements.lock",
    ]
    assert built("broken") == 1


@pytest.mark.stack
def test_an_image_of_a_use_case_holds_its_package_and_installs_its_lock(tmp_path: Path) -> None:
    dockerfile = (ROOT / "docker" / "use_case" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    command = re.findall(r"^RUN (.*)$", dockerfile, re.MULTILINE)[0]
    context = tmp_path / "use_case"
    context.mkdir()
    (context / "spec.py").write_text("SPEC = 1\n")
    (context / "requirements.lock").write_text("kiosk-prices==1.0\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pip").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (programs / "pip").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    command = command.replace("/opt/nightshift", str(tmp_path / "nightshift")).replace("/tmp/use_case", str(context))
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PACKAGE": "company.kiosks"}

    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "nightshift" / "company" / "kiosks" / "spec.py").is_file()
    assert "--require-hashes" in (tmp_path / "asked").read_text()
