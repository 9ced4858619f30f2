"""Where model files lie is told to nobody who shows no credential."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving.rollout.rollout import without_addresses

from serving.access.caller import Scope
from serving.access.keys import KeyFile
from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE, until

ROWS = {"rows": [{"distance": 1, "hour": 2, "carrier": "B6"}]}
PLAN = {"shadow_rows": 5, "watch_seconds": 0.5, "idle_seconds": 0.2, "share": 0.5}
PLACE = "the-place-of-the-models"


@pytest.fixture(params=["a token", "keys"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServingProcess]:
    """A server that lets everybody ask but deploy, and one that asks everybody for a key."""
    keys = KeyFile(tmp_path / "keys.json")
    keys.new("app", frozenset({Scope.PREDICT}))
    settings = {"SERVING_KEYS": str(keys.path)} if request.param == "keys" else {}
    found = ServingProcess(tmp_path / "state", **settings).start()
    yield found
    found.stop()


def told(server: ServingProcess, *, known: bool = False) -> str:
    """All that is answered to somebody, on every path."""
    headers = {"Authorization": f"Bearer {TOKEN}"} if known else {}
    with httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE) as client:
        document = client.get("/openapi.json")
        paths = ["/healthz", "/readyz", "/metrics", "/v1/model", "/v1/deployments", "/v1/deployments/current"]
        answers = [document, *(client.get(path) for path in paths), client.post("/v1/predict", json=ROWS)]
    return "".join(answer.text for answer in answers)


def test_no_answer_tells_somebody_unknown_where_a_model_lies(server: ServingProcess, tmp_path: Path) -> None:
    # Given versions that went into service, one that could not be loaded, and then no model file any more
    folder = tmp_path / PLACE
    uri, sha256 = write(folder, portable_bytes())
    server.deploy(uri, sha256, "7")
    server.deploy(*write(folder, portable_bytes(bias=0.2)), "8", rollout=PLAN, rows=ROWS["rows"] * 9)
    until(lambda: server.get("/v1/deployments/current", known=True).json()["rollout"]["phase"] == "promoted")
    assert server.deploy(f"{uri}.gone", sha256, "9").status_code == 424
    while_it_serves = told(server)
    server.stop()
    for file in folder.iterdir():
        file.unlink()
    server.start()

    # Then whoever shows no credential is told what serves and why not, and nowhere where
    for said in (while_it_serves, told(server)):
        assert PLACE not in said
    assert "version 8 cannot be loaded again: …: there is no such file" in server.get("/readyz").text
    # And whoever shows one is told, as is the log
    assert PLACE in told(server, known=True)
    until(lambda: PLACE in server.log.read_text())


def test_a_wrong_credential_is_none(server: ServingProcess, tmp_path: Path) -> None:
    server.deploy(*write(tmp_path / PLACE, portable_bytes()), "7")

    answer = httpx.get(f"{server.url}/v1/model", headers={"Authorization": "Bearer wrong"})

    assert PLACE not in answer.text


@given(
    st.sampled_from(["s3", "file", "https", "gs", "abfss"]),
    st.from_regex(r"[a-z0-9/._-]{1,30}", fullmatch=True),
    st.text(),
)
def test_an_address_is_taken_out_of_any_line(scheme: str, rest: str, other: str) -> None:
    uri = f"{scheme}://x{rest}"

    assert uri not in without_addresses(f"it failed ({uri}): {other}", uri)
    assert f"x{rest}" not in without_addresses(f'could not connect to "{uri}x"', "")
