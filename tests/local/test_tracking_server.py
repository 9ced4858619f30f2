"""MLflow's UI answers who has logged in, and reaches no file but the artifacts of runs."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from local.tracking_server import USER, within
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "made for the test"
API = "/api/2.0/mlflow"

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Tracking:
    """A running server, its folder of artifacts, and a file beside that folder which is nobody's business."""

    url: str
    artifacts: Path
    private: Path

    def ask(self, path: str, body: Any = None, password: str | None = PASSWORD) -> tuple[int, bytes]:
        """Status and content of an answer."""
        headers = {"Content-Type": "application/json"}
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
        content = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url + path, content, headers), timeout=PATIENCE
            ) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def run_with(self, location: str) -> str:
        """A run of an experiment whose artifacts are at a location of one's own."""
        made = json.loads(self.ask(f"{API}/experiments/create", {"name": location, "artifact_location": location})[1])
        run = self.ask(f"{API}/runs/create", {"experiment_id": made["experiment_id"]})
        return str(json.loads(run[1])["run"]["info"]["run_id"])


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    folder = tmp_path_factory.mktemp("tracking")
    artifacts, private = folder / "artifacts", folder / "private.txt"
    artifacts.mkdir()
    private.write_text("hush")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/runs.db",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(artifacts),
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    argv = [sys.executable, "-m", "local.tracking_server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, env=environment, stdout=log, stderr=log) as server:
        found = Tracking(f"http://127.0.0.1:{port}", artifacts, private)
        try:
            until(lambda: _healthy(found))
            yield found
        finally:
            server.terminate()


def _healthy(tracking: Tracking) -> bool:
    try:
        return tracking.ask("/health", password=None)[0] == 200
    except OSError:
        return False


def test_nothing_but_its_health_is_answered_without_the_password(tracking: Tracking) -> None:
    for path in ("/", f"{API}/experiments/search?max_results=1", "/graphql", "/health/", "/version", "//health"):
        for wrong in (None, "", "guess"):
            assert tracking.ask(path, password=wrong)[0] == 401, path
    assert tracking.ask("/")[0] == 200
    assert tracking.ask(f"{API}/experiments/search?max_results=1")[0] == 200


def test_what_a_run_left_behind_is_shown(tracking: Tracking) -> None:
    run = tracking.run_with((tracking.artifacts / "ours").as_uri())
    shown = json.loads(tracking.ask(f"{API}/runs/get?run_id={run}")[1])["run"]["info"]["artifact_uri"]
    folder = Path(shown.removeprefix("file://"))
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    assert tracking.ask(f"/get-artifact?{urlencode({'run_id': run, 'path': 'report.json'})}") == (200, b"{}")


@pytest.mark.parametrize(
    "spelling", ["{uri}", "{path}", "{artifacts}/../", "{artifacts}/%2e%2e/", "{artifacts}/link", "file:{path}"]
)
def test_a_location_elsewhere_is_neither_read_nor_listed_nor_written(tracking: Tracking, spelling: str) -> None:
    # Given an experiment that somebody made with a location of their own, or that a symbolic link leads to
    outside = tracking.private.parent
    link = tracking.artifacts / "link"
    if not link.is_symlink():
        link.symlink_to(outside)
    run = tracking.run_with(spelling.format(uri=outside.as_uri(), path=outside, artifacts=tracking.artifacts))
    info = json.loads(tracking.ask(f"{API}/runs/get?run_id={run}")[1])["run"]["info"]
    # And a file where the run would find it
    found = Path(info["artifact_uri"].removeprefix("file://").removeprefix("file:").replace("%2e", ".")).resolve()
    found.mkdir(parents=True, exist_ok=True)
    (found / "secret").write_text("hush")
    # When it is read, listed, written
    answers = [
        tracking.ask(f"/get-artifact?{urlencode({'run_id': run, 'path': 'secret'})}"),
        tracking.ask(f"{API}/artifacts/list?{urlencode({'run_id': run})}"),
        tracking.ask(f"/ajax-api/2.0/mlflow/upload-artifact?{urlencode({'run_uuid': run, 'path': 'planted'})}", {}),
    ]
    # Then it is refused
    assert all(status in (400, 403, 404) for status, _ in answers), answers
    assert not any(b"hush" in content or b"secret" in content for _, content in answers)
    assert not list(outside.rglob("planted"))


def test_artifacts_are_not_handed_out_by_their_path(tracking: Tracking) -> None:
    assert tracking.ask("/api/2.0/mlflow-artifacts/artifacts/../private.txt")[0] != 200
    assert tracking.ask("/api/2.0/mlflow-artifacts/artifacts?path=")[0] == 503


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ("s3://bucket/mlflow", True),
        ("s3://bucket/mlflow/case/run", True),
        ("s3://bucket/mlflowers", False),
        ("s3://bucket/mlflow/../other", False),
        ("s3://bucket/mlflow/%2e%2e/other", False),
        ("s3://other/mlflow", False),
        ("file:///etc", False),
        ("/etc", False),
        ("http://169.254.169.254/latest", False),
    ],
)
def test_in_a_bucket_artifacts_are_below_the_prefix(place: str, inside: bool) -> None:
    assert within("s3://bucket/mlflow", place) == inside
