"""The lake as serving reads it: its manifests, and files by name. It writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlparse

from formats.manifest import MANIFEST
from serving.errors import FetchError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import ListObjectsV2OutputTypeDef


class PublishedLake(Protocol):
    """Files under a root, by relative names with forward slashes. Calls block, and raise `FetchError`."""

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly in folder `prefix`, in order; none if it is not there."""

    def manifests(self, prefix: str, after: str = "") -> dict[str, str]:
        """Every manifest below folder `prefix`, with a tag that changes when it is replaced.

        Folders in `prefix` whose names come before `after` are left out.
        """

    def read(self, name: str, limit: int) -> bytes:
        """A file of at most `limit` bytes."""


def open_lake(uri: str, *, s3_endpoint: str | None = None) -> PublishedLake:
    """The lake at a folder path, `file://…` or `s3://bucket/prefix`."""
    parsed = urlparse(uri)
    if parsed.scheme == "s3":
        return S3Lake(parsed.netloc, parsed.path.strip("/"), s3_endpoint)
    if parsed.scheme == "file":
        return FileLake(Path(unquote(parsed.path)))
    if "://" in uri:
        raise FetchError(f"SERVING_LAKE {uri!r}: no way to read {parsed.scheme}://; use a path, file:// or s3://")
    return FileLake(Path(uri))


class FileLake:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folders(self, prefix: str) -> list[str]:
        try:
            with os.scandir(self.root / prefix) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FetchError(f"{self.root / prefix}: {error.strerror or error}") from None

    def manifests(self, prefix: str, after: str = "") -> dict[str, str]:
        return {
            name: tag
            for folder in self.folders(prefix)
            if folder >= after
            for name, tag in self._below(f"{prefix}/{folder}")
        }

    def _below(self, folder: str) -> Iterator[tuple[str, str]]:
        name = f"{folder}/{MANIFEST}"
        try:
            there = (self.root / name).stat()
        except FileNotFoundError:
            for deeper in self.folders(folder):
                yield from self._below(f"{folder}/{deeper}")
        except OSError as error:
            raise FetchError(f"{self.root / name}: {error.strerror or error}") from None
        else:
            yield name, f"{there.st_mtime_ns}-{there.st_ino}-{there.st_size}"

    def read(self, name: str, limit: int) -> bytes:
        path = self.root / name
        try:
            with path.open("rb") as file:
                return _within(file.read(limit + 1), limit, str(path))
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror or error}") from None


class S3Lake:
    """A bucket (and prefix) behind any S3 API."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.endpoint = endpoint
        self._made: S3Client | None = None

    @property
    def _client(self) -> S3Client:
        if self._made is None:
            import boto3
            from botocore.config import Config

            config = Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"})
            self._made = boto3.client("s3", endpoint_url=self.endpoint, config=config)
        return self._made

    def folders(self, prefix: str) -> list[str]:
        pages = self._list(prefix, delimiter="/")
        found = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", [])]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def manifests(self, prefix: str, after: str = "") -> dict[str, str]:
        pages = self._list(prefix, after=after)
        return {
            entry["Key"].removeprefix(self.prefix): entry["ETag"]
            for page in pages
            for entry in page.get("Contents", [])
            if entry["Key"].endswith(f"/{MANIFEST}")
        }

    def read(self, name: str, limit: int) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        uri = f"s3://{self.bucket}/{self.prefix}{name}"
        try:
            body = self._client.get_object(Bucket=self.bucket, Key=f"{self.prefix}{name}")["Body"]
            return _within(body.read(limit + 1), limit, uri)
        except (BotoCoreError, ClientError) as error:
            raise FetchError(f"{uri}: {error}") from None

    def _list(self, prefix: str, *, after: str = "", delimiter: str = "") -> list[ListObjectsV2OutputTypeDef]:
        from botocore.exceptions import BotoCoreError, ClientError

        top = f"{self.prefix}{prefix}/"
        try:
            pages = self._client.get_paginator("list_objects_v2")
            return list(pages.paginate(Bucket=self.bucket, Prefix=top, StartAfter=f"{top}{after}", Delimiter=delimiter))
        except (BotoCoreError, ClientError) as error:
            raise FetchError(f"s3://{self.bucket}/{top}: {error}") from None


def _within(content: bytes, limit: int, uri: str) -> bytes:
    if len(content) > limit:
        raise FetchError(f"{uri}: more than {limit} bytes")
    return content
