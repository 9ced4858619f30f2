"""JSON over HTTP, as the stack asks its own servers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from include.errors import FaultError

# Only our own servers, which are behind no proxy: urllib would not find [::1] in NO_PROXY.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, *, method: str = "GET", body: Any = None, token: str = "", seconds: float = 30) -> Any:
    """A server's JSON answer (None if its body is empty); `FaultError` with its own words when it refuses."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=content, headers=headers, method=method)  # noqa: S310
    try:
        with _DIRECT.open(request, timeout=seconds) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        detail = " ".join(error.read().decode(errors="replace").split())[:500]
        raise FaultError(f"{method} {url} was refused: {error.code} {detail}") from None
    except OSError as error:
        raise FaultError(f"{url} does not answer: {error}") from None
    try:
        return json.loads(text) if text else None
    except ValueError:
        raise FaultError(f"{url} answered something that is not JSON: {text[:80]!r}") from None


def is_up(url: str) -> bool:
    """Whether anything answers there without an error."""
    try:
        with _DIRECT.open(url, timeout=5):
            return True
    except OSError:
        return False
