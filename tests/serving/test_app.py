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

    deployed = serving.deploy(uri, sha256, "7")
    answer = serving.predict(ROWS).json()

    assert deployed.status_code == 200
    assert answer["model_version"] == "7"
    assert answer["probabilities"] == pytest.approx(PortableModel.load(content).rows(ROWS).tolist(), abs=1e-15)
    served = serving.get("/v1/model", known=True).json()
    assert served == deployed.json()
    assert {name: served[name] for name in ("version", "sha256", "uri", "use_case")} == {
        "version": "7",
        "sha256": sha256,
        "uri": uri,
        "use_case": "flight_delay",
    }
    assert serving.get("/readyz").status_code == 200


def test_deploying_what_is_served_changes_nothing(serving: ServingProcess, tmp_path: Path) -> None:
    uri, sha256 = write(tmp_path, portable_bytes())

    first, second = serving.deploy(uri, sha256, "7"), serving.deploy(uri, sha256, "7")

    assert first.json() == second.json()


@pytest.mark.parametrize("token", [None, "", "Bearer wrong", f"Basic {TOKEN}", f"bearer {TOKEN}é"])
def test_without_the_token_nothing_is_deployed(ready: ServingProcess, tmp_path: Path, token: str | None) -> None:
    uri, sha256 = write(tmp_path, portable_bytes(bias=0.9))
    body = {"model_uri": uri, "sha256": sha256, "version": "8", "use_case": "flight_delay"}
    headers = httpx.Headers(None if token is None else {b"Authorization": token.encode()})

    answer = httpx.post(f"{ready.url}/admin/deployments", json=body, headers=headers)

    assert answer.status_code == 401
    assert answer.json() == {"detail": "wrong or missing bearer token or API key"}
    assert ready.get("/v1/model").json()["version"] == "7"


@pytest.mark.stack
def test_a_server_without_a_token_takes_no_deployment(tmp_path: Path) -> None:
    server = ServingProcess(tmp_path / "state", token="").start()
    try:
        answer = server.deploy("file:///nowhere", "0" * 64, "1")
        assert (answer.status_code, answer.json()["detail"]) == (403, "deploying is off: SERVING_TOKEN is not set")
    finally:
        server.stop(signal.SIGKILL)


def test_a_bad_file_never_replaces_a_good_one(serving: ServingProcess, tmp_path: Path) -> None:
    # Given a model in service
    good = write(tmp_path, portable_bytes())
    serving.deploy(*good, "7")
    before = (
        serving.get("/v1/model").json(),
        serving.predict(ROWS).json(),
        (serving.state / "current.json").read_bytes(),
    )

    # When files are deployed that are wrong, each in its own way
    whole = portable_bytes(bias=0.3)
    half_uri, half_sha256 = write(tmp_path, whole[: len(whole) // 2])
    nan_uri, nan_sha256 = write(tmp_path, portable_bytes(output="Identity", bias=float("nan")))
    other_uri, other_sha256 = write(tmp_path, portable_bytes(use_case="other"))
    refusals = [
        (serving.deploy(good[0], "0" * 64, "8"), 422, "SHA-256 is"),
        (serving.deploy(half_uri, half_sha256, "8"), 422, "not a whole ONNX file"),
        (serving.deploy(nan_uri, nan_sha256, "8"), 422, "self-test failed"),
        (serving.deploy(other_uri, other_sha256, "8"), 422, "is of use case 'other', not 'flight_delay'"),
        (serving.deploy(other_uri, other_sha256, "8", use_case="other"), 409, "this server serves use case"),
        (serving.deploy((tmp_path / "gone.onnx").as_uri(), "0" * 64, "8"), 424, "there is no such file"),
        (serving.deploy(good[0], "not a hash", "8"), 422, "sha256: String should match"),
    ]

    # Then each is refused in one line, and the good one is still in service
    for answer, status, says in refusals:
        assert answer.status_code == status
        assert says in answer.json()["detail"]
        assert "\n" not in answer.json()["detail"]
    after = (
        serving.get("/v1/model").json(),
        serving.predict(ROWS).json(),
        (serving.state / "current.json").read_bytes(),
    )
    assert after == before


def test_a_withdrawn_model_is_not_served_even_after_a_restart(serving: ServingProcess, tmp_path: Path) -> None:
    serving.deploy(*write(tmp_path, portable_bytes()), "7")

    refused = httpx.delete(f"{serving.url}/admin/deployments")
    withdrawn = httpx.delete(f"{serving.url}/admin/deployments", headers={"Authorization": f"Bearer {TOKEN}"})

    assert (refused.status_code, withdrawn.status_code) == (401, 204)
    assert serving.get("/v1/model").json()["detail"] == "no model is served: the last model was withdrawn"
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
    (tmp_path / f"{sha256}.onnx").unlink()

    serving.start()

    detail = serving.get("/readyz").json()["detail"]
    assert detail == "no model is served: version 7 cannot be loaded again: …: there is no such file"
    until(lambda: f"version 7 cannot be loaded: {uri}: there is no such file" in serving.log.read_text())
    assert serving.get("/healthz").status_code == 200


@pytest.mark.parametrize("content", ["{", json.dumps({"version": "7"}), ""])
def test_a_server_whose_memory_is_damaged_starts_and_can_be_deployed_to(
    serving: ServingProcess, tmp_path: Path, content: str
) -> None:
    serving.stop()
    serving.state.mkdir(exist_ok=True)
    (serving.state / "current.json").write_text(content)

    serving.start()

    assert "current.json cannot be read" in serving.get("/readyz").json()["detail"]
    assert serving.deploy(*write(tmp_path, portable_bytes()), "8").status_code == 200
    assert serving.get("/readyz").status_code == 200


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
            env={"SERVING_PORT": str(port), "SERVING_STATE": str(tmp_path)},
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
        env={"SERVING_PORT": "eighty"},
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
