from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from include.deployment.serving_api import ServedModel, ServingApi
from include.errors import DataError, FaultError, SettingsError
from tests.serving_process import free_port

Answer = tuple[int, Any]


@pytest.fixture
def play() -> Iterator[Callable[..., tuple[ServingApi, list[Any]]]]:
    """A server that gives those answers, one after the other; what it was asked is kept."""
    servers = []

    def begin(*answers: Answer) -> tuple[ServingApi, list[Any]]:
        left, asked = list(answers), []

        class Script(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer()

            def answer(self) -> None:
                asked.append(self.path)
                status, body = left.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                return

        server = HTTPServer(("127.0.0.1", 0), Script)
        servers.append((server, thread := threading.Thread(target=server.serve_forever)))
        thread.start()
        return ServingApi(f"http://127.0.0.1:{server.server_port}", "token", "flight_delay"), asked

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


Play = Callable[..., tuple[ServingApi, list[Any]]]


SERVED = {"version": "8", "sha256": "0" * 64, "since": "2013-10-02T01:30:00Z", "uri": ""}


def test_what_is_served_is_asked_by_the_use_cases_name(play: Play) -> None:
    api, asked = play((200, SERVED))

    assert api.served() == ServedModel("8", "0" * 64, "2013-10-02T01:30:00Z")
    assert asked == ["/v1/models/flight_delay"]


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_serves_nothing_of_it_is_no_error(play: Play, status: int) -> None:
    api, _ = play((status, {"detail": "no model is served: nothing was deployed yet"}))

    assert api.served() is None


def test_rows_that_the_server_refuses_are_bad_data_and_a_busy_one_is_a_fault(play: Play) -> None:
    api, _ = play((422, {"detail": "row 0, field 'hour': missing"}), (503, {"detail": "too many"}))

    with pytest.raises(DataError, match="answered 422: row 0, field 'hour': missing"):
        api.predict([{}])
    with pytest.raises(FaultError, match="answered 503: too many"):
        api.predict([{}])


def test_a_credential_that_the_server_does_not_know_is_a_setting(play: Play) -> None:
    api, _ = play((401, {"detail": "wrong or missing bearer token or API key"}))

    with pytest.raises(SettingsError, match=r"answered 401: .*; see NIGHTSHIFT_SERVING_TOKEN"):
        api.predict([{}])


def test_another_kind_of_server_is_named(play: Play) -> None:
    api, _ = play((200, {"something": "else"}), (200, {"something": "else"}))

    with pytest.raises(FaultError, match="answers, but not as serving does"):
        api.served()
    with pytest.raises(FaultError, match="answers, but not as serving does"):
        api.predict([{}])


def test_a_server_that_is_down_is_one_line_after_bounded_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.deployment.serving_api.PAUSE_SECONDS", 0.01)
    api = ServingApi(f"http://127.0.0.1:{free_port()}", None, "flight_delay")

    with pytest.raises(FaultError, match=r"does not answer \(4 tries\): .*make up"):
        api.served()
