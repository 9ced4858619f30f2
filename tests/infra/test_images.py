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
