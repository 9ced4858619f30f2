from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from serving.access import tokens
from serving.access.caller import Algorithm, Caller, Scope
from serving.access.tokens import Tokens
from tests.serving.issuer import AUDIENCE, ISSUER, Issuer

ALLOWED = (Algorithm.RS256, Algorithm.ES256)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    yield found
    found.stop()


def check(issuer: Issuer, *shown: str) -> list[Caller | None]:
    """Whose those tokens are, one after the other, for one server."""

    async def run() -> list[Caller | None]:
        known = Tokens(issuer.url, ISSUER, AUDIENCE, ALLOWED)
        return [await known.caller(token.encode()) for token in shown]

    return asyncio.run(run())


def test_a_good_token_is_its_subjects(issuer: Issuer) -> None:
    issuer.add("curve", curve=True)

    found = check(
        issuer,
        issuer.token(),
        issuer.token("curve", scope="openid predict admin"),
        issuer.token(scope=None, scp=["admin"]),
        issuer.token(aud=["other", AUDIENCE], scope=None),
    )

    assert found == [
        Caller("a-service", frozenset({Scope.PREDICT})),
        Caller("a-service", frozenset({Scope.PREDICT})),
        Caller("a-service", frozenset()),
        Caller("a-service", frozenset()),
    ]
    assert issuer.asked == 1


def unsigned(issuer: Issuer) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'kid': 'first'})}.{issuer.token().split('.')[1]}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    """The public key taken for a shared secret: the classic confusion of algorithms."""
    import hashlib
    import hmac

    secret = issuer.keys["first"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
    text = f"{head}.{issuer.token().split('.')[1]}"
    signature = base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), hashlib.sha256)).decode().rstrip("=")
    return f"{text}.{signature}"


def with_another_key(issuer: Issuer) -> str:
    body = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(body, rsa.generate_private_key(65_537, key_size=2048), "RS256", headers={"kid": "first"})


@pytest.mark.parametrize(
    "bad",
    [
        lambda issuer: issuer.token(exp=int(time.time()) - 60),
        lambda issuer: issuer.token(nbf=int(time.time()) + 3600),
        lambda issuer: issuer.token(exp=None),
        lambda issuer: issuer.token(sub=None),
        lambda issuer: issuer.token(iss="https://another.example"),
        lambda issuer: issuer.token(aud="another"),
        lambda issuer: issuer.token(aud=None),
        lambda issuer: issuer.token()[:-4] + "AAAA",
        lambda issuer: issuer.token() + "x" * 10_000,
        lambda _: "no token",
        lambda _: "a.b.c",
        unsigned,
        signed_with_the_public_key,
        with_another_key,
        lambda issuer: jwt.encode({"sub": "x"}, issuer.keys["first"], "PS256", headers={"kid": "first"}),
        lambda issuer: jwt.encode({"sub": "x"}, issuer.keys["first"], "RS256"),
    ],
)
def test_a_bad_token_is_nobodys(issuer: Issuer, bad: Callable[[Issuer], str]) -> None:
    assert check(issuer, bad(issuer)) == [None]


def test_a_new_key_is_fetched_when_a_token_names_it(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "PAUSE_SECONDS", 0)

    async def run() -> list[Caller | None]:
        known = Tokens(issuer.url, ISSUER, AUDIENCE, ALLOWED)
        before = await known.caller(issuer.token().encode())
        issuer.add("second")
        return [before, await known.caller(issuer.token("second").encode())]

    assert [caller is not None for caller in asyncio.run(run())] == [True, True]
    assert issuer.asked == 2


def test_tokens_with_unknown_keys_cannot_make_us_flood_the_issuer(issuer: Issuer) -> None:
    issuer.add("unpublished")
    unknown = issuer.token("unpublished")
    del issuer.keys["unpublished"]

    assert check(issuer, *[unknown] * 20, issuer.token()) == [None] * 20 + [
        Caller("a-service", frozenset({Scope.PREDICT}))
    ]
    assert issuer.asked == 1


def test_many_first_requests_at_once_ask_the_issuer_once(issuer: Issuer) -> None:
    async def run() -> list[Caller | None]:
        known = Tokens(issuer.url, ISSUER, AUDIENCE, ALLOWED)
        return await asyncio.gather(*(known.caller(issuer.token().encode()) for _ in range(20)))

    assert None not in asyncio.run(run())
    assert issuer.asked == 1


def test_an_issuer_that_is_down_lets_nobody_in_and_nothing_break(issuer: Issuer) -> None:
    issuer.broken = True

    assert check(issuer, issuer.token(), issuer.token()) == [None, None]
    assert issuer.asked == 1


def test_a_token_is_remembered_until_it_ends(issuer: Issuer) -> None:
    async def run() -> tuple[Tokens, bytes]:
        known = Tokens(issuer.url, ISSUER, AUDIENCE, ALLOWED)
        token = issuer.token().encode()
        assert known.remembered(token, time.time()) is None
        await known.caller(token)
        return known, token

    known, token = asyncio.run(run())

    assert known.remembered(token, time.time()) == Caller("a-service", frozenset({Scope.PREDICT}))
    assert known.remembered(token[:-1], time.time()) is None
    assert known.remembered(token, time.time() + 700) is None


def test_what_is_remembered_is_bounded(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED", 2)

    async def run() -> list[bool]:
        known = Tokens(issuer.url, ISSUER, AUDIENCE, ALLOWED)
        shown = [issuer.token(sub=f"service-{place}").encode() for place in range(3)]
        for token in shown:
            await known.caller(token)
        return [known.remembered(token, time.time()) is not None for token in shown]

    assert asyncio.run(run()) == [False, True, True]


def test_tokens_of_a_withdrawn_key_are_forgotten(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "PAUSE_SECONDS", 0)
    issuer.add("second")

    async def run() -> Caller | None:
        known = Tokens(issuer.url, ISSUER, AUDIENCE, ALLOWED)
        token = issuer.token("second").encode()
        assert await known.caller(token) is not None
        del issuer.keys["second"]
        issuer.add("third")
        await known.caller(issuer.token("third").encode())
        assert known.remembered(token, time.time()) is None
        return await known.caller(token)

    assert asyncio.run(run()) is None
