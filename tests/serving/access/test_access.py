from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.access.caller import Scope
from serving.access.keys import KeyFile
from tests.portable_files import portable_bytes, write
from tests.serving.issuer import AUDIENCE, ISSUER, Issuer
from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE, until

ROWS = {"rows": [{"distance": 1, "hour": 2, "carrier": "B6"}]}
REFUSED = {"detail": "wrong or missing bearer token or API key"}

Tokens = list[str | None]


class Guarded:
    """A server that asks for keys and takes tokens, and everything that opens it."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer()
        self.keys = KeyFile(folder / "keys.json")
        self.predict = self.keys.new("app", frozenset({Scope.PREDICT}))
        self.nothing = self.keys.new("ops", frozenset())
        self.server = ServingProcess(
            folder / "state",
            SERVING_KEYS=str(self.keys.path),
            SERVING_JWKS_URL=self.issuer.url,
            SERVING_JWT_ISSUER=ISSUER,
            SERVING_JWT_AUDIENCE=AUDIENCE,
            SERVING_REFUSALS="1000",  # every path is asked without a credential here
        ).start()
        self.server.releases.deploy(*write(folder, portable_bytes()), "7")
        until(lambda: self.ask("GET", "/v1/model", self.predict).status_code == 200)

    def ask(self, method: str, path: str, credential: str | None = None, **more: Any) -> httpx.Response:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        return httpx.request(method, f"{self.server.url}{path}", headers=headers, timeout=PATIENCE, **more)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    found = Guarded(tmp_path_factory.mktemp("guarded"))
    yield found
    found.server.stop()
    found.issuer.stop()


def test_a_prediction_needs_a_credential_with_that_scope(guarded: Guarded) -> None:
    good: Tokens = [guarded.predict, guarded.issuer.token()]
    wrong_scope: Tokens = [guarded.nothing, guarded.issuer.token(scope="admin"), guarded.issuer.token(scope=None)]
    bad: Tokens = [None, "wrong", guarded.predict + "x", guarded.issuer.token(aud="another")]

    statuses = {
        name: [guarded.ask("POST", "/v1/predict", one, json=ROWS).status_code for one in credentials]
        for name, credentials in {"good": good, "wrong scope": wrong_scope, "bad": bad}.items()
    }

    assert statuses == {"good": [200] * 2, "wrong scope": [403] * 3, "bad": [401] * 4}


def test_a_key_may_come_in_a_header_of_its_own(guarded: Guarded) -> None:
    answer = httpx.post(f"{guarded.server.url}/v1/predict", json=ROWS, headers={"X-API-Key": guarded.predict})

    assert answer.status_code == 200


def test_every_path_but_those_for_probes_needs_a_credential(guarded: Guarded) -> None:
    paths = guarded.ask("GET", "/openapi.json", guarded.predict).json()["paths"]
    probes = {"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/ping", "/health"}
    assert {"/v1/predict", "/v1/model", "/v1/models/{use_case}/deployments"} <= set(paths)

    for path, methods in paths.items():
        for method in methods:
            if path not in probes:
                assert guarded.ask(method.upper(), path).status_code == 401, (method, path)
    assert guarded.ask("GET", "/openapi.json").status_code == 401
    assert guarded.ask("GET", "/no/such/path").status_code == 401
    assert [guarded.ask("GET", path).status_code for path in sorted(probes)] == [200] * 7


@pytest.mark.parametrize(
    "path", ["/v1/model", "//v1/model", "/%761/model", "/v1/model/", "/healthz/", "/healthz/../v1"]
)
def test_no_spelling_of_a_path_gets_around_the_credential(guarded: Guarded, path: str) -> None:
    assert guarded.ask("GET", path).status_code == 401
    assert guarded.ask("GET", path, guarded.nothing).status_code == 403


def test_a_refusal_says_how_to_do_better_and_repeats_nothing(guarded: Guarded) -> None:
    answer = guarded.ask("POST", "/v1/predict", "ns_secret_guess", json=ROWS)

    assert (answer.status_code, answer.json()) == (401, REFUSED)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_new_key_works_soon_and_a_revoked_one_no_more(guarded: Guarded) -> None:
    key = guarded.keys.new("another", frozenset({Scope.PREDICT}))
    until(lambda: guarded.ask("GET", "/v1/model", key).status_code == 200)

    guarded.keys.revoke(key.split("_")[1])

    until(lambda: guarded.ask("GET", "/v1/model", key).status_code == 401)


def test_no_credential_is_ever_logged(guarded: Guarded) -> None:
    token = guarded.issuer.token(sub="a-subject-to-look-for")
    for credential in (guarded.predict, guarded.predict + "x", token):
        guarded.ask("POST", "/v1/predict", credential, json=ROWS)

    until(lambda: "a-subject-to-look-for" in guarded.server.log.read_text())

    logged = guarded.server.log.read_text()
    for secret in (guarded.predict.split("_", 2)[2], token.split(".")[2]):
        assert secret not in logged


@pytest.mark.stack
def test_tokens_without_issuer_and_audience_are_no_setting(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="SERVING_JWKS_URL needs SERVING_JWT_ISSUER and SERVING_JWT_AUDIENCE"):
        ServingProcess(tmp_path / "state", SERVING_JWKS_URL="http://127.0.0.1:1/keys").start()


@pytest.mark.stack
@pytest.mark.parametrize("algorithms", ["none", "HS256", "RS256,none"])
def test_signatures_that_prove_nothing_cannot_be_allowed(tmp_path: Path, algorithms: str) -> None:
    with pytest.raises(AssertionError, match="SERVING_JWT_ALGORITHMS: Input should be 'RS256'"):
        ServingProcess(tmp_path / "state", SERVING_JWT_ALGORITHMS=algorithms).start()
