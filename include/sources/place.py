"""The place of a source's files: a folder, a bucket, or a server."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import SplitResult, quote, urlsplit

from include.errors import DataError, FaultError, SettingsError
from include.sources.download import download
from include.sources.limit import Limit
from include.storage.store import open_store
from stores.folder import FileStore
from stores.store import BUCKETS, FOLDER, Store

WEB = ("http", "https")
STORES = ("", FOLDER, *BUCKETS)
PLAIN = "!$&'()*+,;=:@~%/"
"""Characters that stay as they are in the path of an address."""


class Place(Protocol):
    """Files by their path below a root."""

    def read(self, path: str, limit: Limit) -> bytes:
        """The file's bytes, packed as they are.

        Raises `FileNotFoundError` if there is no such file, `DataError` for one above the limit, `FaultError` for a
        place out of reach.
        """

    def parts(self, path: str) -> list[str]:
        """The paths of the files in a folder, in order, marks of other programs (`_SUCCESS`) left out."""


def open_place(root: str, *, s3_endpoint: str | None = None) -> Place:
    """The place at a folder path, `file://…`, `s3://…`, `http://…` or `https://…`; `SettingsError` if it is none."""
    try:
        address = urlsplit(root) if "://" in root else SplitResult("", "", root, "", "")
    except ValueError as error:
        raise SettingsError(f"source: {root} is no address: {error}; correct the source's root") from None
    if address.username is not None:
        raise SettingsError(f"source: the address of {address.hostname} holds a user or a password; nothing sends them")
    if address.scheme in WEB:
        return WebPlace(address)
    if address.scheme not in STORES:
        raise SettingsError(
            f"source: nothing reads {address.scheme}://; use a folder, file://, s3://, gs://, az://, http:// or https://"
        )
    if address.scheme in BUCKETS and not address.netloc:
        raise SettingsError(f"source: {root} names no bucket; write {address.scheme}://bucket/folder")
    if address.scheme == "file" and address.netloc not in ("", "localhost"):
        raise SettingsError(f"source: {root} names the host {address.netloc}; write file:/// and the whole path")
    return StorePlace(open_store(root, s3_endpoint=s3_endpoint, failure=_failure), root)


def _failure(line: str) -> FaultError:
    return FaultError(f"source: {line}")


class StorePlace:
    """A folder or a bucket."""

    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self._root = root

    def read(self, path: str, limit: Limit) -> bytes:
        try:
            limit.check(self._store.size(path))
            content = self._store.read(path)
        except FileNotFoundError:
            self._require_root()
            raise
        except FaultError as error:
            if isinstance(error.__cause__, IsADirectoryError):
                raise FileNotFoundError(path) from None
            raise
        limit.check(len(content))
        return content

    def parts(self, path: str) -> list[str]:
        below = [PurePosixPath(name).relative_to(path).parts for name in self._store.names(path)]
        if any("_temporary" in steps for steps in below):
            raise FaultError(f"source: {self._root}/{path} is still being written (it holds _temporary); try again")
        if any("=" in step for steps in below for step in steps[:-1]):
            raise DataError(
                f"source: {self._root}/{path} is cut into folders by a column, which its files then lack; "
                "write it without partitions, or name its files with {date}"
            )
        return [f"{path}/{'/'.join(steps)}" for steps in below if not any(step[0] in "._" for step in steps)]

    def _require_root(self) -> None:
        """A missing folder is a mount that is away, not a file that was never delivered."""
        if isinstance(self._store, FileStore) and not self._store.root.is_dir():
            raise FaultError(f"source: the folder {self._root} is not there; is it mounted, and the path right?")


class WebPlace:
    """A web server; a query of the root's address, such as an access signature, goes behind each file's path."""

    def __init__(self, root: SplitResult) -> None:
        self._root = _checked(root)

    def read(self, path: str, limit: Limit) -> bytes:
        folder = quote(self._root.path.rstrip("/"), safe=PLAIN)
        return download(self._root._replace(path=f"{folder}/{quote(path)}").geturl(), limit)

    def parts(self, path: str) -> list[str]:
        return []


def _checked(root: SplitResult) -> SplitResult:
    """The address with its host as DNS has it; `SettingsError` for an unusable one."""
    named = root._replace(query="").geturl()
    try:
        host = (root.hostname or "").encode("idna").decode()
        port = root.port
    except ValueError as error:
        raise SettingsError(f"source: {named} is no address: {error}; correct the source's root") from None
    if not host or any(sign <= " " for sign in host):
        raise SettingsError(f"source: {named} names no host; write https://host/folder")
    if root.fragment:
        raise SettingsError(f"source: {named} has a #, and what is behind it is not sent; write %23 for one in a name")
    host = f"[{host}]" if ":" in host else host
    return root._replace(netloc=host if port is None else f"{host}:{port}")
