"""A file behind a URL."""

from __future__ import annotations

import io
import time
from http.client import BadStatusLine, HTTPException, IncompleteRead, InvalidURL
from urllib.error import HTTPError
from urllib.request import urlopen

from include.errors import DataError, FaultError, SettingsError
from include.excerpt import excerpt
from include.sources.limit import Limit

ATTEMPTS = 3
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0
CHUNK = 1 << 20
REASON_LENGTH = 200
CODINGS = ("", "identity", "gzip", "x-gzip")
"""Content codings of a file; its first bytes show whether it is packed."""


def download(url: str, limit: Limit) -> bytes:
    """The body behind a URL, packed as it comes.

    `FileNotFoundError` if the server has none, `FaultError` after three failed attempts, `SettingsError` for an
    invalid address, `DataError` for a body above the limit.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            return _body(url, limit)
        except HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(limit.where) from None
            reason = f"HTTP {error.code} {error.reason}"
        except (InvalidURL, UnicodeError) as error:
            raise SettingsError(f"source: {limit.where} is no address: {error}; correct the source's root") from None
        except IncompleteRead as error:
            reason = f"the answer ended before its end, {error.expected} bytes are missing"
        except BadStatusLine as error:
            reason = f"the answer is no HTTP: {str(error)[:80]!r}"
        except (HTTPException, OSError) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
    said = excerpt(reason, REASON_LENGTH)
    raise FaultError(
        f"source: {limit.where} cannot be read after {ATTEMPTS} attempts: {said}; is the address right and up?"
    )


def _body(url: str, limit: Limit) -> bytes:
    with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - only http and https come here
        coding = answer.headers.get("Content-Encoding", "").strip().lower()
        if coding not in CODINGS:
            raise DataError(f"source: {limit.where} is sent as {coding!r}; let the server send it as it is, or as gzip")
        limit.check(answer.length or 0)
        body = io.BytesIO()
        while chunk := answer.read(CHUNK):
            limit.check(body.tell() + len(chunk))
            body.write(chunk)
        # Read in pieces, a body that ends early raises nothing by itself.
        if answer.length:
            raise IncompleteRead(b"", answer.length)
        return body.getvalue()
