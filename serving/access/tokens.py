"""JSON web tokens of an identity provider, checked against the keys it publishes (JWKS)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import jwt

from serving.access.caller import Algorithm, Caller, Scope

FRESH_SECONDS = 300
"""Published keys are fetched again when older than this; meanwhile the ones at hand are used."""
PAUSE_SECONDS = 10
"""Least time between two fetches, failed ones included: unknown key ids cannot make us flood the provider."""
FETCH_SECONDS = 5
REMEMBERED = 10_000
"""Verified tokens remembered by their SHA-256: a signature costs 50 to 100 µs to check, remembering one costs 1."""
LEEWAY_SECONDS = 30
LONGEST = 8_192

log = logging.getLogger("serving")


class Tokens:
    """The owners of tokens; signature, issuer, audience, expiry and not-before are checked, and `sub` must be there.

    Scopes are the words of `scope` (RFC 8693) or `scp`; words other than `predict` mean nothing here.
    """

    def __init__(self, url: str, issuer: str, audience: str, algorithms: tuple[Algorithm, ...]) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._issuer = issuer
        self._audience = audience
        self._algorithms = [str(one) for one in algorithms]
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = -float("inf")
        self._fetched_at = -float("inf")
        self._fetch: asyncio.Task[None] | None = None
        self._known: dict[bytes, tuple[float, Caller]] = {}

    def remembered(self, token: bytes, now: float) -> Caller | None:
        """The owner of a token that was verified before and is valid at that time (seconds since 1970)."""
        found = self._known.get(hashlib.sha256(token).digest())
        return found[1] if found is not None and now < found[0] else None

    async def caller(self, token: bytes) -> Caller | None:
        """The owner of a valid token; the provider may be asked for new keys first."""
        if len(token) > LONGEST:
            return None
        key = await self._key(token)
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
        except jwt.PyJWTError:
            return None
        caller = Caller(str(claims["sub"])[:128], _scopes(claims))
        self._remember(token, float(claims["exp"]) + LEEWAY_SECONDS, caller)
        return caller

    async def _key(self, token: bytes) -> jwt.PyJWK | None:
        try:
            name = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            return None
        if not isinstance(name, str):
            return None
        if name not in self._keys:
            await asyncio.shield(self._refreshed())
        elif time.monotonic() - self._fetched_at > FRESH_SECONDS:
            self._refreshed()
        return self._keys.get(name)

    def _refreshed(self) -> asyncio.Task[None]:
        """The running or last fetch; a new one if it is due."""
        if self._fetch is None or (self._fetch.done() and time.monotonic() - self._tried_at > PAUSE_SECONDS):
            self._fetch = asyncio.get_running_loop().create_task(self._refresh())
        return self._fetch

    async def _refresh(self) -> None:
        try:
            found = await asyncio.to_thread(self._client.get_signing_keys, refresh=True)
        except (jwt.PyJWTError, OSError, ValueError) as error:
            log.warning("keys of the token issuer cannot be fetched (%s); see SERVING_JWKS_URL", type(error).__name__)
            return
        finally:
            self._tried_at = time.monotonic()
        keys = {str(key.key_id): key for key in found}
        if keys.keys() != self._keys.keys():
            self._known.clear()  # a token signed with a withdrawn key is not valid
        self._keys, self._fetched_at = keys, time.monotonic()

    def _remember(self, token: bytes, until: float, caller: Caller) -> None:
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[hashlib.sha256(token).digest()] = (until, caller)


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    found = claims.get("scope", claims.get("scp", ()))
    words = found.split() if isinstance(found, str) else found if isinstance(found, list) else ()
    return frozenset(scope for scope in Scope if scope in words)
