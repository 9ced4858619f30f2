"""Who makes a request, and what it may do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

import msgspec


class Scope(StrEnum):
    """What a credential allows."""

    PREDICT = "predict"


def known_scopes(words: Collection[str]) -> frozenset[Scope]:
    """The scopes among some words; others mean nothing here."""
    return frozenset(scope for scope in Scope if scope in words)


class Algorithm(StrEnum):
    """Signatures of tokens that can be allowed: only those with a public key, neither `none` nor a shared secret."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"


class Caller(msgspec.Struct, frozen=True):
    """A caller by the name it has in logs; `rate` is its own limit in requests a second, if it has one."""

    name: str
    scopes: frozenset[Scope]
    rate: float | None = None


ANONYMOUS = Caller("anonymous", frozenset({Scope.PREDICT}))


def is_known(request: Mapping[str, Any]) -> bool:
    """Whether the caller of that request (an ASGI scope) has shown a valid credential."""
    return bool(request["state"].get("known"))
