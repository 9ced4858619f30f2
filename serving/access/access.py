"""Who may ask: API keys and tokens, checked before anything else."""

from __future__ import annotations

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
REFUSAL_BURST_SECONDS = 4.0
"""An address may show wrong credentials this many seconds' worth at once: somebody has to notice first."""

_BEARER = b"bearer "
_KEY = f"{PREFIX}_".encode()
_CHALLENGE: Headers = [(b"www-authenticate", b"Bearer")]
_CLOSE: Headers = [(b"connection", b"close")]

log = logging.getLogger("serving")


class Credentials:
    """All credentials that this server knows; `KeysError` if the file of keys is malformed at the start."""

    def __init__(self, settings: ServingSettings) -> None:
        self.needed = settings.secured
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

    A credential is `Authorization: Bearer …` or `X-API-Key: …`. `PROBES` need nothing, all other paths the scope
    predict; they are open too while neither keys nor tokens are set up. `known` in the state says
    whether the caller has shown a good credential. An address that keeps showing wrong ones is answered
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
        state = scope.setdefault("state", {})
        state["known"] = self._credentials.needed and path not in PROBES
        caller = await self._credentials.caller(_credential(scope)) if state["known"] else ANONYMOUS
        if caller is None:
            await self._turn_away(scope, send)
            return
        state["caller"], state["rate"] = caller.name, caller.rate
        if Scope.PREDICT not in caller.scopes:
            await refuse(send, 403, f"this credential does not have the scope {Scope.PREDICT.value!r}")
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
