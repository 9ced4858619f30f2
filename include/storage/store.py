"""Where bytes lie: a folder or an S3 bucket, behind one small interface with an exclusive create."""

from __future__ import annotations

import logging
import mimetypes
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlparse

from include.errors import LakeError, SettingsError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = logging.getLogger("nightshift")

CONNECTIONS = 16
CONFLICT = "ConditionalRequestConflict"
CONFLICTS = 5
"""How often S3 may say that another exclusive write of the same key is under way, before we give up."""


class Store(Protocol):
    """Named blobs under one root; names are relative paths with forward slashes."""

    def read(self, name: str) -> bytes:
        """The blob's bytes; `FileNotFoundError` if there is none."""

    def exists(self, name: str) -> bool:
        """Whether the blob is there, whole."""

    def replace(self, name: str, content: bytes | Path) -> None:
        """Put the blob there in one act, over any older one."""

    def create(self, name: str, content: bytes) -> bool:
        """Put the blob there in one act, or return False if one is there already (of two callers one wins)."""

    def names(self, prefix: str) -> Iterator[str]:
        """All blob names that start with a folder `prefix/`, in order."""

    def modified(self, name: str) -> datetime:
        """When the blob was put there; `FileNotFoundError` if there is none."""

    def size(self, name: str) -> int:
        """The blob's bytes, counted; `FileNotFoundError` if there is none."""

    def delete(self, name: str) -> None:
        """Remove the blob if it is there."""

    def clear(self, prefix: str) -> None:
        """Remove every blob under a folder `prefix/`, whatever its name."""

    def uri(self, name: str) -> str:
        """The blob's address, as any other program would open it."""


def open_store(uri: str, *, s3_endpoint: str | None = None) -> Store:
    """The store at a folder path, `file://…` or `s3://bucket/prefix`."""
    parsed = urlparse(uri)
    if parsed.scheme == "s3":
        return S3Store(parsed.netloc, parsed.path.strip("/"), endpoint=s3_endpoint)
    if parsed.scheme == "file":
        return FileStore(Path(unquote(parsed.path)))
    if parsed.scheme == "" or not uri.startswith(f"{parsed.scheme}://"):
        return FileStore(Path(uri).absolute())
    raise SettingsError(f"NIGHTSHIFT_LAKE {uri!r}: no store for {parsed.scheme}://; use a folder, file:// or s3://")


@contextmanager
def passing_folder(store: Store, prefix: str) -> Iterator[None]:
    """A folder `prefix/` of blobs that are cleared when the block ends, however it ends.

    What cannot be cleared stays, with a warning: it must not hide what happened in the block.
    """
    try:
        yield
    finally:
        try:
            store.clear(prefix)
        except Exception as error:
            log.warning("%s stays for a later run to clear: %s", store.uri(prefix), error)


@contextmanager
def _reported(act: str, where: str) -> Iterator[None]:
    """Turn an operating system error into one line that names the place."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise LakeError(f"lake: cannot {act} {where}: {reason}; free or repair it, then run the step again") from error


class FileStore:
    """A folder. A blob appears by rename (or by hard link, where it must be the first), after it is on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        path = self.root / name
        with _reported("read", str(path)):
            return path.read_bytes()

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def replace(self, name: str, content: bytes | Path) -> None:
        path = self.root / name
        with _reported("write", str(path)):
            part = self._part(path, content)
            part.replace(path)
            _sync_folder(path.parent)

    def create(self, name: str, content: bytes) -> bool:
        path = self.root / name
        if path.exists():
            return False
        with _reported("write", str(path)):
            part = self._part(path, content)
            try:
                path.hardlink_to(part)
            except FileExistsError:
                return False
            finally:
                _drop(part)
            _sync_folder(path.parent)
            return True

    def names(self, prefix: str) -> Iterator[str]:
        top = self.root / prefix
        if not top.is_dir():
            return
        with _reported("list", str(top)):
            for folder, folders, files in os.walk(top, onerror=_raise):
                folders.sort()
                for file in sorted(files):
                    if not file.startswith(".part-"):
                        yield (Path(folder) / file).relative_to(self.root).as_posix()

    def modified(self, name: str) -> datetime:
        path = self.root / name
        with _reported("read", str(path)):
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)

    def size(self, name: str) -> int:
        path = self.root / name
        with _reported("read", str(path)):
            return path.stat().st_size

    def delete(self, name: str) -> None:
        path = self.root / name
        with _reported("delete", str(path)):
            path.unlink(missing_ok=True)

    def clear(self, prefix: str) -> None:
        shutil.rmtree(self.root / prefix, ignore_errors=True)

    def uri(self, name: str) -> str:
        return f"file://{quote(str(self.root / name), safe='/=')}"

    @staticmethod
    def _part(path: Path, content: bytes | Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.parent / f".part-{uuid.uuid4().hex}"
        try:
            with part.open("wb") as out:
                if isinstance(content, bytes):
                    out.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            _drop(part)
            raise
        return part


def _drop(part: Path) -> None:
    with suppress(OSError):  # it is swept later, and why it is in the way says more
        part.unlink()


def _raise(error: OSError) -> None:
    raise error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class S3Store:
    """A bucket (and prefix) behind any S3 API. An upload is atomic; an exclusive one is a conditional PUT."""

    def __init__(self, bucket: str, prefix: str, *, endpoint: str | None = None) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.endpoint = endpoint
        self._client: S3Client | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> S3Client:
        """The boto3 client; credentials come from the environment or the pod's service account."""
        with self._lock:  # a client may be shared by threads, but not made by several at once
            if self._client is None:
                import boto3
                from botocore.config import Config

                config = Config(
                    connect_timeout=5,
                    read_timeout=60,
                    max_pool_connections=CONNECTIONS,
                    retries={"max_attempts": 4, "mode": "standard"},
                )
                self._client = boto3.client("s3", endpoint_url=self.endpoint, config=config)
            return self._client

    def read(self, name: str) -> bytes:
        with self._reported("read", name):
            return self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read()

    def exists(self, name: str) -> bool:
        try:
            with self._reported("read", name):
                self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        except FileNotFoundError:
            return False
        return True

    def replace(self, name: str, content: bytes | Path) -> None:
        # Named, because a browser would offer a page of unknown type for download.
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        key = self.prefix + name
        with self._reported("write", name):
            if isinstance(content, bytes):
                self.client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=kind)
            else:
                self.client.upload_file(str(content), self.bucket, key, ExtraArgs={"ContentType": kind})

    def create(self, name: str, content: bytes) -> bool:
        from botocore.exceptions import ClientError

        for attempt in range(CONFLICTS):
            try:
                with self._reported("write", name, passing=("PreconditionFailed", "412", CONFLICT)):
                    self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != CONFLICT:
                    return False
                time.sleep(0.1 * 2**attempt)
            else:
                return True
        raise LakeError(f"lake: cannot write {self.uri(name)}: others write it all the time; run the step again")

    def names(self, prefix: str) -> Iterator[str]:
        with self._reported("list", prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self.prefix}{prefix}/"
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self.prefix)

    def modified(self, name: str) -> datetime:
        with self._reported("read", name):
            return self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)["LastModified"]

    def size(self, name: str) -> int:
        with self._reported("read", name):
            return self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)["ContentLength"]

    def delete(self, name: str) -> None:
        with self._reported("delete", name):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)

    def clear(self, prefix: str) -> None:
        for name in self.names(prefix):
            self.delete(name)

    def uri(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    @contextmanager
    def _reported(self, act: str, name: str, *, passing: tuple[str, ...] = ()) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in ("NoSuchKey", "404"):
                raise FileNotFoundError(self.uri(name)) from None
            if code in passing:
                raise
            raise LakeError(f"lake: cannot {act} {self.uri(name)}: {code}; check bucket and credentials") from error
        except BotoCoreError as error:
            raise LakeError(f"lake: cannot {act} {self.uri(name)}: {error}; is the endpoint up?") from error
