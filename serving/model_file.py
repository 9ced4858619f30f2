"""Bytes by address: a path, file://, s3:// or http(s)://, up to a size."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from serving.errors import FetchError

MODEL_BYTES = 256 * 2**20
TIMEOUT_SECONDS = 30


class Readable(Protocol):
    """Whatever hands out bytes."""

    def read(self, size: int, /) -> bytes: ...


def fetch(uri: str, *, s3_endpoint: str | None = None, limit: int = MODEL_BYTES) -> bytes:
    """The bytes at an address; `FetchError` if they cannot be fetched or exceed `limit`."""
    parsed = urlparse(uri)
    try:
        if parsed.scheme == "s3":
            return _from_s3(parsed.netloc, parsed.path.lstrip("/"), s3_endpoint, uri, limit)
        if parsed.scheme in ("http", "https"):
            return _from_http(uri, limit)
        if parsed.scheme == "file":
            return _from_file(Path(unquote(parsed.path)), uri, limit)
        if "://" in uri:
            raise FetchError(f"{uri}: no way to fetch {parsed.scheme}://; use a path, file://, s3:// or http(s)://")
        return _from_file(Path(uri), uri, limit)
    except OSError as error:
        raise FetchError(f"{uri}: {error.strerror or error}") from None


def _from_file(path: Path, uri: str, limit: int) -> bytes:
    with path.open("rb") as file:
        return _read(file, uri, limit)


def _from_s3(bucket: str, key: str, endpoint: str | None, uri: str, limit: int) -> bytes:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=5, read_timeout=TIMEOUT_SECONDS, retries={"max_attempts": 3, "mode": "standard"})
    try:
        body = boto3.client("s3", endpoint_url=endpoint, config=config).get_object(Bucket=bucket, Key=key)["Body"]
        return _read(body, uri, limit)
    except (BotoCoreError, ClientError) as error:
        raise FetchError(f"{uri}: {error}") from None


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


def _read(source: Readable, uri: str, limit: int) -> bytes:
    content = source.read(limit + 1)
    if len(content) > limit:
        raise _too_large(uri, limit)
    return content


def _too_large(uri: str, limit: int) -> FetchError:
    return FetchError(f"{uri}: more than {limit} bytes; no model is that large (SERVING_MODEL_BYTES)")
