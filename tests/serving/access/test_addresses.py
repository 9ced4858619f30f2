"""Where model files lie is told to nobody who shows no credential."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from include.deployment.fleet import RefusedError
from serving.access.caller import Scope
from serving.access.keys import KeyFile
from tests.portable_files import portable_bytes, write
from tests.releases import USE_CASE
from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE, until

ROWS = [{"distance": number / 5 - 2, "hour": 2, "carrier": "B6"} for number in range(20)]
PLAN = {"shadow_rows": 5, "watch_seconds": 0.5, "idle_seconds": 0.2, "share": 0.5}
PLACE = "the-place-of-the-models"


def told(server: ServingProcess, credential: str = "") -> str:
    """All that is answered to somebody, on every path."""
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    of_use_case = [f"/v1/models/{USE_CASE}{rest}" for rest in ("", "/release", "/deployments")]
    with httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE) as client:
        document = client.get("/openapi.json")
        paths = ["/healthz", "/readyz", "/metrics", "/v1/model", "/v1/models", *of_use_case]
        answers = [document, *(client.get(path) for path in paths), client.post("/v1/predict", json={"rows": ROWS})]
    return "".join(answer.text for answer in answers)


@pytest.mark.stack
@pytest.mark.parametrize("secured", [False, True])
def test_no_answer_tells_somebody_unknown_where_a_model_lies(tmp_path: Path, secured: bool) -> None:
    # Given a server that answers everybody, or one that asks everybody for a key
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.new("app", frozenset({Scope.PREDICT}))
    settings = {"SERVING_KEYS": str(keys.path)} if secured else {}
    server = ServingProcess(tmp_path / "state", **settings).start()
    try:
        # And versions that went into service, one that cannot be loaded, and then no model file any more
        folder = tmp_path / PLACE
        server.releases.deploy(*write(folder, portable_bytes()), "7")
        server.releases.roll_out(*write(folder, portable_bytes(bias=0.2)), "8", PLAN, ROWS)
        with pytest.raises(RefusedError):
            server.releases.deploy(*write(folder, b"no model"), "9")
        while_it_serves = told(server)
        known_to_it = told(server, key)
        server.stop()
        for file in (*folder.iterdir(), *server.state.rglob("*.onnx")):
            file.unlink()
        server.start()

        # Then whoever shows no credential is told what serves and why not, and nowhere where
        for said in (while_it_serves, told(server)):
            assert PLACE not in said
        assert "version 8 cannot be loaded: …: there is no such file" in server.get("/readyz").text
        # And whoever shows one is told, as is the log
        assert (PLACE in known_to_it) == secured
        until(lambda: PLACE in server.log.read_text())
    finally:
        server.stop()
