"""Named files under one root with an exclusive create, and the reading of addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from obstore.store import S3CredentialProvider

BUCKETS = ("s3", "gs", "az")
FOLDER = "file"
PATIENCE_SECONDS = 180.0
"""How long all attempts of a request to a bucket may take together, by default."""

Failure = Callable[[str], Exception]
"""Makes the caller's kind of error from one line."""


class StoreError(Exception):
    """A store cannot be read or written."""


class AddressError(ValueError):
    """An address that names no store."""


class TooLargeError(ValueError):
    """A blob above the limit of its reader."""


class Store(Protocol):
    """Named blobs under one root; names are relative paths with forward slashes."""

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The blob's bytes; `FileNotFoundError` if there is none, `TooLargeError` if it has more than `limit`."""

    def exists(self, name: str) -> bool:
        """Whether the blob is there, whole."""

    def replace(self, name: str, content: bytes | Path) -> None:
        """Put the blob there in one act, over any older one."""

    def create(self, name: str, content: bytes) -> bool:
        """Put the blob there in one act, or return False if one is there already (of two callers one wins)."""

    def names(self, prefix: str) -> Iterator[str]:
        """All blob names that start with a folder `prefix/`, in order."""

    def tags(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        """The same names, each with a tag that changes when the blob is replaced.

        What stands directly in `prefix/` under a name before `after` is left out, folders too.
        """

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly in `prefix/`, in order."""

    def modified(self, name: str) -> datetime:
        """When the blob was put there; `FileNotFoundError` if there is none."""

    def size(self, name: str) -> int:
        """The blob's bytes, counted; `FileNotFoundError` if there is none."""

    def delete(self, name: str) -> None:
        """Remove the blob if it is there."""

    def clear(self, prefix: str) -> None:
        """Remove every blob under a folder `prefix/`, whatever its name."""

    def sweep(self, prefix: str) -> None:
        """Remove what writers that were killed long ago left below a folder `prefix/`, unseen by readers."""

    def uri(self, name: str) -> str:
        """The blob's address, as any other program would open it."""


def open_store(
    address: str,
    *,
    endpoint: str | None = None,
    failure: Failure = StoreError,
    patience: float = PATIENCE_SECONDS,
    credentials: Callable[[], S3CredentialProvider | None] | None = None,
) -> Store:
    """The store at a folder path, `file://…`, `s3://bucket/prefix`, `gs://…` or `az://container/prefix`.

    `failure` makes the error for a store that cannot be used. `endpoint` is that of an S3-compatible store. A bucket's
    credentials come from the environment or the pod's identity, an S3 bucket's from `credentials`, if given.
    """
    scheme, path = split(address)
    if scheme == FOLDER:
        from stores.folder import FileStore

        return FileStore(Path(path).absolute(), failure)
    from stores.bucket import BucketStore

    bucket, _, prefix = path.partition("/")
    return BucketStore(
        scheme, bucket, prefix, endpoint=endpoint, failure=failure, patience=patience, credentials=credentials
    )


def split(address: str) -> tuple[str, str]:
    """An address's scheme (`file` for a plain path), and the path behind it; `AddressError` for any other scheme."""
    scheme, mark, path = address.partition("://")
    if not mark:
        return FOLDER, address
    if scheme == FOLDER:
        return FOLDER, unquote(urlsplit(address).path)
    if scheme in BUCKETS:
        return scheme, path.strip("/")
    raise AddressError(f"no store for {scheme}://; use a folder, file://, s3://, gs:// or az://")


def parent(address: str) -> tuple[str, str]:
    """The address of a file's folder, and the file's name in it."""
    scheme, path = split(address)
    file = PurePosixPath(path)
    return (str(file.parent) if scheme == FOLDER else f"{scheme}://{file.parent}"), file.name
