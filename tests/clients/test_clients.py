"""Clients that share no code with our server get its answers; `make test-clients` installs them."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from include.modelling.tasks.multiclass import MulticlassTask
from tests.portable_files import expected, portable_bytes, write
from tests.serving.test_tasks import CLASSES, ROWS, file
from tests.serving_process import ServingProcess

HERE = Path(__file__).parent
TRITON = HERE.parents[1] / ".nightshift" / "clients" / "triton" / "bin" / "python"
"""Where `make test-clients` puts NVIDIA's."""
pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not TRITON.exists(), reason="make test-clients makes its environment"),
]


def asked_by_triton(server: ServingProcess, model: str, columns: dict[str, list[Any]]) -> dict[str, Any]:
    argv = [str(TRITON), str(HERE / "ask_by_triton.py"), f"127.0.0.1:{server.port}", model, json.dumps(columns)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nvidias_client_asks_with_numbers_text_and_gaps(serving: ServingProcess, tmp_path: Path) -> None:
    serving.deploy(*write(tmp_path, portable_bytes()), "7")
    columns: dict[str, list[Any]] = {"distance": [1.5, math.nan], "hour": [2.0, 3.0], "carrier": ["B6", "never seen"]}

    found = asked_by_triton(serving, "flight_delay", columns)

    assert found.pop("ready") == [True, True, True, True, False]
    assert found.pop("extensions") == ["binary_tensor_data"]
    assert found.pop("error") == ["400", "row 0, field 'hour': missing; send null where the value is not known"]
    rows = [expected(1.5, 2, 1), expected(0, 3, 0)]
    assert found == {
        "binary, all": {"id": "42", "probability": pytest.approx(rows)},
        "binary, named": {"id": "42", "probability": pytest.approx(rows)},
        "JSON, all": {"id": "42", "probability": pytest.approx(rows[:1])},
        "JSON, named": {"id": "42", "probability": pytest.approx(rows[:1])},
    }


def test_nvidias_client_gets_classes(tmp_path: Path) -> None:
    # A server of its own: one that follows a second use case once follows it for good.
    server = ServingProcess(tmp_path / "state").start()
    try:
        server.deploy(*write(tmp_path, file(MulticlassTask(CLASSES))), "1", use_case="demo")
        own = server.predict(ROWS).json()
        found = asked_by_triton(server, "demo", {name: [row[name] for row in ROWS] for name in ROWS[0]})
    finally:
        server.stop()

    answer = found["binary, all"]
    assert answer["class"] == own["classes"]
    assert answer["classes"] == list(CLASSES)
    assert answer["probabilities"] == [list(row.values()) for row in own["probabilities"]]
