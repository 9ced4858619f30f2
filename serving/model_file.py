"""Bytes by address: a path, file://, a bucket's address or http(s)://, up to a size."""

from __future__ import annotations

from serving.errors import FetchError
from stores.store import AddressError, TooLargeError, open_store, parent

MODEL_BYTES = 256 * 2**20
TIMEOUT_SECONDS = 30


def fetch(uri: str, *, s3_endpoint: str | None = None, limit: int = MODEL_BYTES) -> bytes:
    """The bytes at an address; `FetchError` if they cannot be fetched or exceed `limit`."""
    if uri.startswith(("http://", "https://")):
        return _from_http(uri, limit)
    try:
        folder, name = parent(uri)
        store = open_store(folder, endpoint=s3_endpoint, failure=FetchError, patience=TIMEOUT_SECONDS)
        return store.read(name, limit)
    except AddressError as error:
        raise FetchError(f"{uri}: {error}, or http(s)://") from None
    except FileNotFoundError:
        raise FetchError(f"{uri}: there is no such file") from None
    except TooLargeError:
        raise _too_large(uri, limit) from None


def _from_http(uri: str, limit: int) -> bytes:
    import httpx

    content = bytearray()
    try:
        with httpx.stream("GET", uri, timeout=TIMEOUT_SECONDS) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > limit:
                    raise _too_large(uri, limit)
    except httpx.HTTPStatusError as error:
        raise FetchError(f"{uri}: answered {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise FetchError(f"{uri}: {error}") from None
    return bytes(content)


def _too_large(uri: str, limit: int) -> FetchError:
    return FetchError(f"{uri}: more than {limit} bytes; no model is that large (SERVING_MODEL_BYTES)")
