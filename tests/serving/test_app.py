from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from formats.portable_model import PortableModel
from include.deployment.fleet import RefusedError
from tests.portable_files import portable_bytes, write
from tests.serving_process import ROOT, ServingProcess
from tests.waiting import PATIENCE, until

ROWS: list[dict[str, Any]] = [
    {"distance": 1.5, "hour": 2, "carrier": "B6"},
    {"distance": None, "hour": True, "carrier": "never seen"},
    {"distance": -3, "hour": 4, "carrier": None},
]


def test_a_new_server_lives_but_is_not_ready(serving: ServingProcess) -> None:
    serving.stop()
    serving.start()

    assert serving.get("/healthz").status_code == 200
    for answer in (serving.get("/readyz"), serving.get("/v1/model"), serving.predict(ROWS)):
        assert answer.status_code == 503
        assert answer.json() == {"detail": "no model is served: nothing was deployed yet"}


def test_a_deployed_model_answers_what_the_file_says(serving: ServingProcess, tmp_path: Path) -> None:
    content = portable_bytes()
    uri, sha256 = write(tmp_path / "models with spaces", content)

    serving.deploy(uri, sha256, "7")
    answer = serving.predict(ROWS).json()

    assert answer["model_version"] == "7"
    assert answer["probabilities"] == pytest.approx(PortableModel.load(content).rows(ROWS).tolist(), abs=1e-15)
    served = serving.get("/v1/model").json()
    assert {name: served[name] for name in ("version", "sha256", "uri", "use_case", "by")} == {
        "version": "7",
        "sha256": sha256,
        "uri": "",
        "use_case": "flight_delay",
        "by": "a test",
    }
    assert serving.get("/readyz").status_code == 200


def test_a_bad_file_never_replaces_a_good_one(serving: ServingProcess, tmp_path: Path) -> None:
    # Given a model in service
    good = write(tmp_path, portable_bytes())
    serving.deploy(*good, "7")
    before = (serving.get("/v1/model").json(), serving.predict(ROWS).json())

    # When files are released that are wrong, each in its own way
    whole = portable_bytes(bias=0.3)
    wrong = [
        ((good[0], "0" * 64), "SHA-256 is"),
        (write(tmp_path, whole[: len(whole) // 2]), "not a whole ONNX file"),
        (write(tmp_path, portable_bytes(output="Identity", bias=float("nan"))), "self-test failed"),
        (write(tmp_path, portable_bytes(use_case="other")), "is of use case 'other', not 'flight_delay'"),
    ]
    for (uri, sha256), says in wrong:
        with pytest.raises(RefusedError) as refused:
            serving.releases.deploy(uri, sha256, "8")

        # Then each is refused in one line, and the good one is still in service
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)
        assert (serving.get("/v1/model").json(), serving.predict(ROWS).json()) == before


def test_a_withdrawn_model_is_not_served_even_after_a_restart(serving: ServingProcess, tmp_path: Path) -> None:
    serving.deploy(*write(tmp_path, portable_bytes()), "7")

    serving.until_entry(serving.releases.withdraw().number)

    assert serving.get("/v1/model").json()["detail"].startswith("no model is served: ")
    serving.stop()
    serving.start()
    assert serving.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"rows": []}, "rows: at least 1 row is needed"),
        ({"rows": [ROWS[0]] * 1001}, "rows: at most 1000 rows at once"),
        ({"rows": [ROWS[0], 3]}, "row 1: expected an object, got a number"),
        ({"row": [ROWS[0]]}, "body, field 'row': unknown; the body takes rows"),
        ({}, "body, field 'rows': missing"),
        ({"rows": [ROWS[0]], "explain": True}, "body, field 'explain': unknown"),
        ({"rows": [ROWS[0], ROWS[0] | {"tail": 1}]}, "row 1, field 'tail': unknown; the model takes distance, hour"),
        ({"rows": [{"distance": 1, "hour": 2}]}, "row 0, field 'carrier': missing; send null"),
        ({"rows": [ROWS[0] | {"hour": "2"}]}, "row 0, field 'hour': expected a number or null, got text"),
        ({"rows": [ROWS[0] | {"hour": [2]}]}, "row 0, field 'hour': expected a number or null, got a list"),
        ({"rows": [ROWS[0] | {"carrier": 2}]}, "row 0, field 'carrier': expected text or null, got a number"),
    ],
)
def test_a_bad_request_is_told_its_row_and_field(ready: ServingProcess, body: dict[str, Any], says: str) -> None:
    answer = httpx.post(f"{ready.url}/v1/predict", json=body)

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(says)


@pytest.mark.parametrize("hour", ["NaN", "-Infinity", "1e999", "1" + "0" * 400])
def test_a_number_that_is_not_finite_is_refused(ready: ServingProcess, hour: str) -> None:
    body = '{"rows": [{"distance": 1, "carrier": "AA", "hour": ' + hour + "}]}"

    answer = httpx.post(f"{ready.url}/v1/predict", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("row 0, field 'hour': ")


def test_a_body_that_is_no_json_is_told_so(ready: ServingProcess) -> None:
    answer = httpx.post(f"{ready.url}/v1/predict", content="{", headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("body: JSON that ends too early")


def test_a_killed_server_serves_the_same_version_when_it_starts_again(serving: ServingProcess, tmp_path: Path) -> None:
    serving.deploy(*write(tmp_path, portable_bytes()), "7")
    before = (serving.get("/v1/model").json(), serving.predict(ROWS).json())

    serving.stop(signal.SIGKILL)
    serving.start()

    assert (serving.get("/v1/model").json(), serving.predict(ROWS).json()) == before


def test_a_server_whose_model_file_is_gone_starts_and_says_so(serving: ServingProcess, tmp_path: Path) -> None:
    uri, sha256 = write(tmp_path, portable_bytes())
    serving.deploy(uri, sha256, "7")
    serving.stop()
    for file in (tmp_path / f"{sha256}.onnx", *serving.state.rglob("*.onnx")):
        file.unlink()

    serving.start()

    detail = serving.get("/readyz").json()["detail"]
    assert detail == "no model is served: version 7 cannot be loaded: …: there is no such file"
    until(lambda: f"version 7 cannot be loaded: {uri}: there is no such file" in serving.log.read_text())
    assert serving.get("/healthz").status_code == 200


@pytest.mark.parametrize("content", ["{", json.dumps({"number": 7}), ""])
def test_a_server_whose_memory_is_damaged_starts_and_serves(ready: ServingProcess, content: str) -> None:
    ready.stop()
    for damaged in (*ready.state.rglob("entry.json"), *ready.state.rglob("*.onnx")):
        damaged.write_text(content)

    ready.start()

    assert ready.predict(ROWS).json()["model_version"] == "7"


def test_sigterm_ends_it_quietly(serving: ServingProcess) -> None:
    assert serving.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert "Traceback" not in serving.log.read_text()


@pytest.mark.stack
def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "serving"],
            cwd=ROOT,
            env={"SERVING_PORT": str(port), "SERVING_STATE": str(tmp_path), "SERVING_RELEASES": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert ended.returncode == 78
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.stack
def test_a_setting_that_is_wrong_is_named() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=ROOT,
        env={"SERVING_PORT": "eighty", "SERVING_RELEASES": "releases"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert ended.returncode == 78
    assert "SERVING_PORT: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.stack
def test_serving_is_free_of_the_heavy_libraries_and_of_the_pipeline() -> None:
    script = """
import sys, serving.__main__
heavy = {"airflow", "pyspark", "mlflow", "pandas", "sklearn", "include"}
print(*sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == ""
