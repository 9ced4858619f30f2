"""Clients as they are, against a server as it is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.portable_files import expected, portable_bytes, write
from tests.serving_process import ROOT, ServingProcess
from tests.waiting import until

PAGE = (ROOT / "docs" / "serving" / "protocols.md").read_text(encoding="utf-8")
SNIPPETS = [text for text in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "curl" in text]
SERVE = ROOT / "docker" / "serving" / "serve"
pytestmark = pytest.mark.stack


def test_mlflows_client_asks_with_a_frame_and_reads_a_frame(ready: ServingProcess) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", ready.port)
    client.wait_server_ready()
    frame = pd.DataFrame({"distance": [1.5, None], "hour": [2, 3], "carrier": ["B6", None]})

    answers = client.invoke(frame).get_predictions()

    assert client.get_version() == "0.1.0"
    assert list(answers["probability"]) == pytest.approx([expected(1.5, 2, 1), expected(0, 3, 0)])
    records = client.invoke(frame.iloc[:1].to_dict("records")).get_predictions()
    assert list(records["probability"]) == pytest.approx([expected(1.5, 2, 1)])


def test_mlflows_client_reads_why_it_is_refused(ready: ServingProcess) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    with pytest.raises(Exception, match=r"error code 400, .*row 0, field 'carrier': missing"):
        ScoringServerClient("127.0.0.1", ready.port).invoke([{"distance": 1.5, "hour": 2.0}])


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_what_the_page_tells_to_type_is_answered(number: int, ready: ServingProcess) -> None:
    script = SNIPPETS[number].replace("127.0.0.1:8890", f"127.0.0.1:{ready.port}").replace("curl -s", "curl -sf")

    done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout


def test_serve_listens_where_sagemaker_asks(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$SERVING_PORT" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    by_default = subprocess.check_output([str(SERVE)], env=environment, text=True)
    told = subprocess.check_output([str(SERVE), "--workers", "2"], env={**environment, "SERVING_PORT": "9"}, text=True)

    assert by_default == "8080 -m serving\n"
    assert told == "9 -m serving --workers 2\n"


def test_what_serve_starts_answers_as_sagemaker_asks(tmp_path: Path) -> None:
    server = ServingProcess(tmp_path / "state")
    environment = {**server.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with server.log.open("ab") as log:
        server.process = subprocess.Popen([str(SERVE)], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: answers(server, "/healthz"))
        assert not answers(server, "/ping")
        server.deploy(*write(tmp_path, portable_bytes()), "7")
        assert answers(server, "/ping")
        body, media = "distance,hour,carrier\n1.5,2,B6\n", {"Content-Type": "text/csv", "Accept": "application/json"}
        answer = httpx.post(f"{server.url}/invocations", content=body, headers=media)
        assert answer.json() == {"predictions": [{"probability": pytest.approx(expected(1.5, 2, 1))}]}
    finally:
        server.stop()


def answers(server: ServingProcess, path: str) -> bool:
    try:
        return server.get(path).status_code == 200
    except httpx.TransportError:
        return False
