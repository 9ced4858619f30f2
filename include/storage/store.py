"""A folder or an S3 bucket behind one small interface with an exclusive create."""

from __future__ import annotations

import io
import logging
import mimetypes
import os
import random
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, unquote, urlparse

from include.errors import LakeError, SettingsError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = logging.getLogger("nightshift")

CONNECTIONS = 16
PART = ".part-"
"""The first letters of an unfinished file's name."""
LEFTOVER_SECONDS = 86_400
"""No writer takes this long: an unfinished file this old belongs to one that was killed."""
TRIES = 22
"""How often a store is asked that turns requests away or breaks off: of one that fails every second request, a night of
thousands of them still does not see a fault. The pauses between them add up to about 80 s."""
TRIES_IF_AWAY = 8
"""How often a store is tried that accepts no connection; about 13 s."""
PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 180.0
"""How long all attempts together may take if each of them hangs."""
NOT_THERE = frozenset({"NoSuchKey", "404"})
TAKEN = frozenset({"PreconditionFailed", "412"})
SLOW_DOWN = frozenset(
    {"SlowDown", "503", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
    | {"TooManyRequests", "TooManyRequestsException", "429", "BandwidthLimitExceeded", "RequestThrottled"}
)
STALLED = frozenset({"RequestTimeout", "RequestTimeoutException", "IncompleteBody", "OperationAborted"})
CONFLICT = "ConditionalRequestConflict"
"""What S3 says while another exclusive write of the same key is under way."""

Answer = TypeVar("Answer")


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

    def sweep(self, prefix: str) -> None:
        """Remove what writers that were killed long ago left below a folder `prefix/`, unseen by readers."""

    def uri(self, name: str) -> str:
        """The blob's address, as any other program would open it."""


def open_store(uri: str, *, s3_endpoint: str | None = None) -> Store:
    """The store at a folder path, `file://…` or `s3://bucket/prefix`."""
    parsed = urlparse(uri)
    if s3_endpoint is not None and not re.match(r"https?://[^/]", s3_endpoint):
        wanted = s3_endpoint.rpartition("://")[2]
        raise SettingsError(f"NIGHTSHIFT_S3_ENDPOINT {s3_endpoint!r} is no http address; write https://{wanted}")
    if parsed.scheme == "s3":
        return S3Store(parsed.netloc, parsed.path.strip("/"), endpoint=s3_endpoint)
    if parsed.scheme == "file":
        return FileStore(Path(unquote(parsed.path)))
    if parsed.scheme == "" or not uri.startswith(f"{parsed.scheme}://"):
        return FileStore(Path(uri).absolute())
    raise SettingsError(f"NIGHTSHIFT_LAKE {uri!r}: no store for {parsed.scheme}://; use a folder, file:// or s3://")


@contextmanager
def passing_folder(store: Store, prefix: str) -> Iterator[None]:
    """A folder `prefix/` of blobs that are deleted when the block ends, in any way.

    What cannot be deleted stays, with a warning, because a second error would hide that of the block.
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
        self._seen = _identity(root)

    def read(self, name: str) -> bytes:
        path = self.root / name
        with _reported("read", str(path)):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                self._require_same_folder()
                raise

    def exists(self, name: str) -> bool:
        path = self.root / name
        with _reported("read", str(path)):
            if path.is_file():
                return True
            self._require_same_folder()
            return False

    def replace(self, name: str, content: bytes | Path) -> None:
        path = self.root / name
        with _reported("write", str(path)):
            part = self._part(path, content)
            part.replace(path)
            _sync_folder(path.parent)

    def _require_same_folder(self) -> None:
        """Refuse the place where the folder was while its mount is away: missing files are then not missing,
        and what is written would be hidden when the mount is back."""
        seen, present = self._seen, _identity(self.root)  # in this order: another thread may make it just now
        if seen is not None and present != seen and (present is None or not any(self.root.iterdir())):
            raise LakeError(
                f"lake: {self.root} was there and is {'gone' if present is None else 'empty now'}; "
                "bring its mount back, then run the step again"
            )
        self._seen = present or self._seen

    def create(self, name: str, content: bytes) -> bool:
        path = self.root / name
        with _reported("write", str(path)):
            if path.exists():
                return False
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
        with _reported("list", str(top)):
            if not top.is_dir():
                self._require_same_folder()
                return
            for folder, folders, files in os.walk(top, onerror=_raise):
                folders.sort()
                for file in sorted(files):
                    if not file.startswith(PART):
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

    def sweep(self, prefix: str) -> None:
        oldest = time.time() - LEFTOVER_SECONDS
        for folder, _, files in os.walk(self.root / prefix):
            for part in [Path(folder, file) for file in files if file.startswith(PART)]:
                with suppress(OSError):  # it may be gone, or not be ours to remove
                    if part.stat().st_mtime < oldest:
                        part.unlink()

    def uri(self, name: str) -> str:
        return f"file://{quote(str(self.root / name), safe='/=')}"

    def _part(self, path: Path, content: bytes | Path) -> Path:
        self._require_same_folder()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seen = self._seen or _identity(self.root)
        part = path.parent / f"{PART}{uuid.uuid4().hex}"
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


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _drop(part: Path) -> None:
    with suppress(OSError):  # it is swept later, and the first error says more
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
                    # We try again ourselves: the client has a quota for it, which is used up after some fifty faults.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                )
                self._client = boto3.client("s3", endpoint_url=self.endpoint, config=config)
            return self._client

    def read(self, name: str) -> bytes:
        def got() -> bytes:  # with its body: a connection may break off in the middle of it
            return self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read()

        return self._do("read", name, got)

    def exists(self, name: str) -> bool:
        try:
            self._do("read", name, lambda: self.client.head_object(Bucket=self.bucket, Key=self.prefix + name))
        except FileNotFoundError:
            return False
        return True

    def replace(self, name: str, content: bytes | Path) -> None:
        # Named, because a browser would offer a page of unknown type for download.
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"

        def put() -> object:
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as body:
                return self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=body, ContentType=kind)

        self._do("write", name, put)

    def create(self, name: str, content: bytes) -> bool:
        def put() -> object:
            return self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content, IfNoneMatch="*")

        try:
            self._do("write", name, put)
        except _TakenError as taken:
            # If the answer to an exclusive write was lost, the second attempt meets the first one's blob.
            return taken.maybe_by_us and self.read(name) == content
        return True

    def names(self, prefix: str) -> Iterator[str]:
        wanted: dict[str, Any] = {"Bucket": self.bucket, "Prefix": f"{self.prefix}{prefix}/"}
        while True:
            page = self._do("list", prefix, lambda: self.client.list_objects_v2(**wanted))
            for entry in page.get("Contents", []):
                yield entry["Key"].removeprefix(self.prefix)
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def modified(self, name: str) -> datetime:
        head = self._do("read", name, lambda: self.client.head_object(Bucket=self.bucket, Key=self.prefix + name))
        return head["LastModified"]

    def size(self, name: str) -> int:
        head = self._do("read", name, lambda: self.client.head_object(Bucket=self.bucket, Key=self.prefix + name))
        return head["ContentLength"]

    def delete(self, name: str) -> None:
        self._do("delete", name, lambda: self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name))

    def clear(self, prefix: str) -> None:
        for name in self.names(prefix):
            self.delete(name)

    def sweep(self, prefix: str) -> None:
        pass  # an incomplete upload is no blob

    def uri(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def _do(self, act: str, name: str, call: Callable[[], Answer]) -> Answer:
        """A call's answer, after as many tries as it takes; else a `LakeError`.

        Raises `FileNotFoundError` for a blob that is not there, `_TakenError` for an exclusive write that met one.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        maybe_done, began = False, time.monotonic()
        for tries in count(1):
            try:
                return call()
            except (ClientError, BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
                refusal = Refusal.of(error)
                if refusal.code in NOT_THERE:
                    raise FileNotFoundError(self.uri(name)) from None
                if refusal.code in TAKEN:
                    raise _TakenError(maybe_by_us=maybe_done) from None
                if tries >= refusal.tries or time.monotonic() - began > PATIENCE_SECONDS:
                    raise LakeError(f"lake: cannot {act} {self.uri(name)}: {refusal}") from error
                if tries == TRIES_IF_AWAY:
                    log.warning("lake: cannot %s %s after %d tries: %s", act, self.uri(name), tries, refusal)
                maybe_done |= refusal.code != CONFLICT
            # With a random pause, or all refused callers would come back at once.
            pause = min(PAUSE_SECONDS * 2.0 ** (tries - 1), LONGEST_PAUSE_SECONDS)
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
        raise AssertionError("unreachable")


class _TakenError(Exception):
    """Another blob exists; `maybe_by_us`: this write may have created it, and its answer was lost."""

    def __init__(self, *, maybe_by_us: bool) -> None:
        self.maybe_by_us = maybe_by_us


@dataclass(frozen=True)
class Refusal:
    """Why an S3 call failed: its code, or the client's words if there was no answer.

    `tries` is how often such a request is made before it is given up; 1 if asking again cannot help.
    """

    code: str
    words: str
    tries: int

    @classmethod
    def of(cls, error: BaseException) -> Refusal:
        """The reason in an error of boto3."""
        from botocore.exceptions import ClientError, IncompleteReadError, NoCredentialsError
        from botocore.exceptions import ConnectionError as NoConnectionError
        from botocore.exceptions import HTTPClientError as BrokenConnectionError
        from urllib3.exceptions import HTTPError

        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code"))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            passes = status >= 500 or code in SLOW_DOWN or code in STALLED or code == CONFLICT
            return cls(code, "", TRIES if passes else 1)
        if isinstance(error, NoCredentialsError):
            return cls("", "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", 1)
        away = f"{error}; is the endpoint up?"
        if isinstance(error, NoConnectionError):
            return cls("", away, TRIES_IF_AWAY)
        broken = isinstance(error, BrokenConnectionError | IncompleteReadError | HTTPError | OSError)
        return cls("", away, TRIES) if broken else cls("", str(error), 1)

    def __str__(self) -> str:
        if self.words:
            return self.words
        if self.code in SLOW_DOWN:
            return f"{self.code}: the store asks to slow down, and went on to; run the step again later"
        if self.code == CONFLICT:
            return f"{self.code}: others write it all the time; run the step again"
        if self.tries > 1:
            return f"{self.code}: the store is in trouble; run the step again later"
        return f"{self.code}; check bucket and credentials"
