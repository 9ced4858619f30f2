"""The way to MLflow: what its client is told of the deployment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from include.errors import ExitCode, SettingsError
from include.model_registry.tracking import open_client
from include.settings import Settings
from tests.waiting import PATIENCE


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", None])
def test_plots_and_reports_go_to_the_s3_of_the_settings(
    endpoint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL")
    open_client(Settings(tracking_url=f"sqlite:///{tmp_path / 'mlflow.db'}", s3_endpoint=endpoint))
    assert os.environ.get("MLFLOW_S3_ENDPOINT_URL") == endpoint


@pytest.mark.parametrize("url", ["mlflow.internal:5000", "127.0.0.1"])
def test_an_address_without_a_scheme_is_refused_by_the_settings_name(url: str) -> None:
    with pytest.raises(SettingsError, match=f"NIGHTSHIFT_TRACKING_URL '{url}' is no address; write http://{url}"):
        open_client(Settings(tracking_url=url))


# A database that answers once, and then never again

ROOT = Path(__file__).resolve().parents[3]
STEP = """
import include.model_registry.tracking, include.stop
from include.model_registry.versions import Registry
from include.step import Result, StepArguments, main

include.model_registry.tracking.ANSWER_SECONDS = {bound}
include.stop.PATIENCE_SECONDS = 1.0

def ask(context, arguments):
    print("asking", flush=True)
    Registry.open(context.settings, "flight_delay").versions()
    return Result()

main(StepArguments, ask)
"""


@pytest.fixture
def hanging(database_url: str) -> Iterator[str]:
    """The address of a PostgreSQL that serves its first connection, takes all others and says nothing."""
    parts = urlsplit(database_url)
    behind = Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"
    front = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        while content := source.recv(1 << 16):
            target.sendall(content)
        target.close()

    def serve() -> None:
        while True:
            try:
                held.append(front.accept()[0])
            except OSError:
                return
            if len(held) == 1:
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(behind))
                for ends in ((held[0], server), (server, held[0])):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"postgresql://{parts.username}:{parts.password or ''}@127.0.0.1:{front.getsockname()[1]}{parts.path}"
    front.close()
    for each in held:
        each.close()


def asking(url: str, folder: Path, bound: float) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "NIGHTSHIFT_LAKE": str(folder / "lake"),
        "NIGHTSHIFT_RUN": "dag/run/ask",
        "NIGHTSHIFT_TRACKING_URL": url,
        "NIGHTSHIFT_TERMINATION_LOG": str(folder / "message"),
    }
    argv = [sys.executable, "-c", STEP.format(bound=bound), "--use-case=include.use_cases.flight_delay"]
    argv.append("--date=2013-10-01")
    return subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.stack
def test_a_database_that_hangs_ends_the_step_within_its_bound_in_its_own_words(hanging: str, tmp_path: Path) -> None:
    out, _ = asking(hanging, tmp_path, bound=8.0).communicate(timeout=PATIENCE)
    line = (tmp_path / "message").read_text()
    assert line.startswith("MLflow at postgresql://")
    assert line.endswith("does not answer since 8 s; see what holds it up, then run the step again")
    assert "does not answer since 1 s\n" in out, "the log says early what is waited for"
    report = json.loads((tmp_path / "lake" / "flight_delay" / "runs" / "dag" / "run" / "ask.json").read_text())
    assert (report["state"], report["error"]) == ("failed", line)


@pytest.mark.stack
def test_a_step_that_waits_in_such_a_database_ends_when_it_is_told_to(hanging: str, tmp_path: Path) -> None:
    # Given a step inside the driver's own wait, which runs no Python code, and has longer to wait than this test
    child = asking(hanging, tmp_path, bound=10 * PATIENCE)
    assert child.stdout is not None
    said = iter(child.stdout.readline, "")
    assert any("does not answer since" in line for line in said)
    # When it is told to stop
    child.send_signal(signal.SIGTERM)
    # Then it ends, and says so
    assert child.wait(timeout=PATIENCE) == ExitCode.FAULT
    assert (tmp_path / "message").read_text().startswith("stopped by signal 15")
    child.stdout.close()
