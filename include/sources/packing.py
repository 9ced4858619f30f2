"""Files that are packed with gzip, by themselves or by their server."""

from __future__ import annotations

import gzip
import io
import zlib

from include.errors import DataError
from include.sources.limit import MIB, Limit

GZIP = b"\x1f\x8b"
LAYERS = 2
"""A file that is packed, sent by a server that packs."""


def unpacked(content: bytes, limit: Limit) -> bytes:
    """The content, unpacked where its first bytes say that it is packed (no CSV or Parquet file begins so)."""
    for _ in range(LAYERS):
        if not content.startswith(GZIP):
            break
        content = _unpack(content, limit)
    return content


def _unpack(content: bytes, limit: Limit) -> bytes:
    out = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            while chunk := stream.read(MIB):
                limit.check(out.tell() + len(chunk))
                out.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"source: {limit.where} is broken: {error}; deliver it again") from error
    return out.getvalue()
