"""Who may ask what: API keys, tokens and the deploy step's own bearer token, checked before anything else."""

from __future__ import annotations

import hmac
import logging
import math
import time
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from serving.access.address import party
from serving.access.caller import ANONYMOUS, Caller, Scope
from serving.access.keys import PREFIX, KeyRing
from serving.access.rate import Rate
from serving.answer import Headers, refuse
from serving.errors import KeysError
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.access.tokens import Tokens

PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/ping", "/health"})
"""Paths for probes and Prometheus, which have no credential; do not route them from outside."""
ADMIN = "/admin"
DEPLOYED = ("/v1/model", "/v1/deployments")
"""Paths that show more to a caller with a credential: where the model files are."""
REFUSAL_BURST_SECONDS = 4.0
"""An address may show wrong credentials this many seconds' worth at once: somebody has to notice first."""

_BEARER = b"bearer "
_KEY = f"{PREFIX}_".encode()
_DEPLOYER = "deployer"
_CHALLENGE: Headers = [(b"www-authenticate", b"Bearer")]
_CLOSE: Headers = [(b"connection", b"close")]

log = logging.getLogger("serving")


class Credentials:
    """All credentials that this server knows; `KeysError` if the file of keys is malformed at the start."""

    def __init__(self, settings: ServingSettings) -> None:
        token = settings.token.get_secret_value() if settings.token else None
        self.needed = settings.secured
        self.deploying = self.needed or token is not None
        self._token = token.encode() if token else None
        self._deployer = Caller(_DEPLOYER, frozenset(Scope))
        self._tokens = _tokens(settings)
        self._ring = KeyRing(settings.keys) if settings.keys else None
        self._refused = ""
        if self._ring is not None:
            self._ring.look(0)
            if self._ring.refused:
                raise KeysError(self._ring.refused)

    async def caller(self, credential: bytes) -> Caller | None:
        """The owner of a credential; None if it is not valid now."""
        if not credential:
            return None
        if self._token is not None and hmac.compare_digest(credential, self._token):
            return self._deployer
        now = time.time()
        if self._ring is not None and credential.startswith(_KEY):
            self._look(self._ring, now)
            return self._ring.caller(credential, now)
        if self._tokens is not None:
            return self._tokens.remembered(credential, now) or await self._tokens.caller(credential)
        return None

    def _look(self, ring: KeyRing, now: float) -> None:
        ring.look(now)
        if ring.refused != self._refused:
            self._refused = ring.refused
            if ring.refused:
                log.error("%s; the keys of before stay valid", ring.refused)


class Access:
    """Lets a request through when its credential allows it, and notes its caller in the request's state.

    A credential is `Authorization: Bearer …` or `X-API-Key: …`. Paths under `/admin` need the scope admin, `PROBES`
    nothing, all others predict; those are open too while neither keys nor tokens are set up. `known` in the state says
    whether the caller has shown a good credential, needed or not. An address that keeps showing wrong ones is answered
    429 and loses its connection each time; a valid one from there is still accepted.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials, refusals: float) -> None:
        self._app = app
        self._credentials = credentials
        self._refusals = Rate(refusals, REFUSAL_BURST_SECONDS)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Check one request; 401 for no or a wrong credential, 403 for one that may not do this."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        admin = path.startswith(ADMIN)
        if admin and not self._credentials.deploying:
            await refuse(send, 403, "deploying is off: SERVING_TOKEN is not set")
            return
        state = scope.setdefault("state", {})
        if admin or (self._credentials.needed and path not in PROBES):
            caller = await self._credentials.caller(_credential(scope))
            state["known"] = True
        else:
            caller = ANONYMOUS
            if path.startswith(DEPLOYED) and (shown := _credential(scope)):
                state["known"] = await self._credentials.caller(shown) is not None
        if caller is None:
            await self._turn_away(scope, send)
            return
        state["caller"], state["rate"] = caller.name, caller.rate
        needed = Scope.ADMIN if admin else Scope.PREDICT
        if needed not in caller.scopes:
            await refuse(send, 403, f"this credential does not have the scope {needed.value!r}")
            return
        await self._app(scope, receive, send)

    async def _turn_away(self, scope: Connection, send: Send) -> None:
        address = party(scope["client"][0]) if scope.get("client") else ""
        if wait := self._refusals.wait(address, time.monotonic()):
            again = [*_CLOSE, (b"retry-after", b"%d" % math.ceil(wait))]
            await refuse(send, 429, "too many wrong credentials from this address", again)
        else:
            await refuse(send, 401, "wrong or missing bearer token or API key", _CHALLENGE)


def _credential(scope: Connection) -> bytes:
    """The caller's credential, empty if there is none."""
    shown = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else b""
        if name == b"x-api-key":
            shown = value
    return shown


def _tokens(settings: ServingSettings) -> Tokens | None:
    if not (settings.jwks_url and settings.jwt_issuer and settings.jwt_audience):
        return None
    from serving.access.tokens import Tokens  # brings a library for signatures: 10 MB that not every server needs

    return Tokens(settings.jwks_url, settings.jwt_issuer, settings.jwt_audience, settings.jwt_algorithms)
