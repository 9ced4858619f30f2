from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from include.deployment.deployments import Target

from formats.rollout_plan import Phase, Plan
from include.deployment.serving_api import ServingApi
from include.errors import DataError, FaultError

TARGET = Target("8", "file:///8.onnx", "0" * 64, date(2013, 10, 1))
PLAN = Plan(share=0.2)
Answer = tuple[int, Any]


def rollout(phase: str, *, id: str = "r", reason: str = "") -> dict[str, Any]:
    entry = {"version": "8", "sha256": TARGET.sha256}
    return {"id": id, "entry": entry, "phase": phase, "reason": reason, "metrics": {"shadow": {"rows": 5}}}


def current(phase: str, **more: str) -> Answer:
    return 200, {"serving": None, "rollout": rollout(phase, **more)}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[ServingApi, list[Any]]]]:
    """A server that gives those answers, one after the other; the bodies it was sent are kept."""
    servers = []
    monkeypatch.setattr("include.deployment.serving_api.POLL_SECONDS", 0.01)

    def begin(*answers: Answer) -> tuple[ServingApi, list[Any]]:
        left, sent = list(answers), []

        class Script(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer()

            def answer(self) -> None:
                status, body = left.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                return

        server = HTTPServer(("127.0.0.1", 0), Script)
        servers.append((server, thread := threading.Thread(target=server.serve_forever)))
        thread.start()
        return ServingApi(f"http://127.0.0.1:{server.server_port}", "token", "flight_delay"), sent

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


Play = Callable[..., tuple[ServingApi, list[Any]]]


def test_a_rollout_is_asked_for_and_waited_for_even_while_the_server_is_busy(play: Play) -> None:
    api, sent = play((202, rollout("none")), current("canary"), (503, {}), (429, {}), current("promoted"))

    outcome = api.roll_out(TARGET, PLAN, [{"hour": 3}], "a night")

    assert outcome is not None
    assert (outcome.phase, outcome.metrics) == (Phase.PROMOTED, {"shadow": {"rows": 5}})
    assert (sent[0]["by"], sent[0]["rows"], sent[0]["rollout"]["share"]) == ("a night", [{"hour": 3}], 0.2)


def test_a_version_that_is_rolled_back_says_why(play: Play) -> None:
    api, _ = play((202, rollout("none")), current("rolled_back", reason="canary: 1 of 3 answers failed"))

    outcome = api.roll_out(TARGET, PLAN, [])

    assert outcome is not None
    assert (outcome.phase, outcome.reason) == (Phase.ROLLED_BACK, "canary: 1 of 3 answers failed")


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([current("aborted", reason="its worker was stopped")], "version 8 was cut short: its worker was stopped"),
        ([current("promoted", id="other")], "version 8 was ended by another deployment"),
        ([(200, {"something": "else"})], "answers, but not as serving does"),
        ([(200, {"serving": None, "rollout": {"phase": "unheard of"}})], "answers, but not as serving does"),
    ],
)
def test_a_rollout_that_has_no_end_is_a_fault(play: Play, answers: list[Answer], says: str) -> None:
    api, _ = play((202, rollout("none")), *answers)

    with pytest.raises(FaultError, match=says):
        api.roll_out(TARGET, PLAN, [])


def test_a_rollout_that_takes_for_ever_is_a_fault(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.deployment.serving_api.GRACE_SECONDS", 0.2)
    api, _ = play((202, rollout("none")), *[current("canary")] * 1000)

    with pytest.raises(FaultError, match=r"version 8 did not end within 0\.2 s"):
        api.roll_out(TARGET, Plan(shadow_seconds=0, watch_seconds=0), [])


def test_a_server_busy_with_another_rollout_is_a_fault_and_a_refused_file_is_not(play: Play) -> None:
    busy, _ = play((409, {"detail": "a rollout of version 7 is under way"}), current("canary"))
    refusing, _ = play((422, {"detail": "SHA-256 is another"}))

    with pytest.raises(FaultError, match="is busy with the rollout of version 8; try again"):
        busy.roll_out(TARGET, PLAN, [])
    with pytest.raises(DataError, match="answered 422: SHA-256 is another"):
        refusing.roll_out(TARGET, PLAN, [])
