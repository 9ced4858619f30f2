from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from formats.portable_model import ModelError, PortableModel
from serving.app import create_app
from serving.settings import ServingSettings
from tests.portable_files import portable_bytes, write
from tests.releases import ReleasesFolder
from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE, received, until


def test_a_server_is_ready_only_while_its_version_answers_a_self_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, sha256 = write(tmp_path, portable_bytes())
    releases = ReleasesFolder(tmp_path / "releases")
    settings = ServingSettings(state=tmp_path / "state", releases=releases.place, poll_seconds=0.05)

    def broken(_: PortableModel) -> None:
        raise ModelError("self-test failed: an answer is no probability")

    with TestClient(create_app(settings)) as client:
        before = client.get("/readyz")
        releases.deploy(uri, sha256, "7")
        until(lambda: client.get("/readyz").status_code == 200)
        ready = client.get("/readyz").json()
        monkeypatch.setattr(PortableModel, "self_test", broken)
        after = client.get("/readyz")

    assert (before.status_code, before.json()) == (
        503,
        {"detail": "no model is served: nothing was deployed yet"},
    )
    assert ready["status"] == "ready"
    assert ready["models"]["flight_delay"].pop("read_seconds_ago") < 10
    assert ready["models"] == {"flight_delay": {"version": "7", "entry": 2, "error": ""}}
    assert after.status_code == 503
    assert after.json() == {"detail": "version 7 is not ready: self-test failed: an answer is no probability"}


def _ask(connection: socket.socket) -> bytes:
    connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
    return received(connection, lambda came: came.endswith(b"}"))


@pytest.mark.stack
def test_a_server_that_is_being_stopped_is_not_ready_but_answers(tmp_path: Path) -> None:
    # Given a client that is connected, and a request under way that holds the server up
    server = ServingProcess(tmp_path / "state", SERVING_BODY_SECONDS="5").start()
    server.deploy(*write(tmp_path, portable_bytes()), "7")
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as busy,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as probe,
    ):
        busy.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        time.sleep(0.2)

        # When it is told to stop
        assert server.process is not None
        server.process.terminate()
        answer = _ask(probe)
        while answer.startswith(b"HTTP/1.1 200 "):
            answer = _ask(probe)

        # Then it says so to the probe, and ends the connection with it
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in answer
        assert b"this server is being stopped" in answer
    server.process.wait(timeout=PATIENCE)
