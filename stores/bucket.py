"""A bucket as a store, by obstore: S3 and what speaks as it does, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import logging
import mimetypes
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stores.refusal import CONFLICT, TRIES_IF_AWAY, Refusal
from stores.store import PATIENCE_SECONDS, Failure, StoreError, TooLargeError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Config, S3CredentialProvider, S3Store

log = logging.getLogger("nightshift")

PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
"""How long a store may be silent."""
PAGE = 1_000
"""Names in one answer of S3."""

Answer = TypeVar("Answer")


class BucketStore:
    """A bucket and prefix. An upload is atomic; an exclusive one is a conditional PUT."""

    def __init__(
        self,
        scheme: str,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        failure: Failure = StoreError,
        patience: float = PATIENCE_SECONDS,
        credentials: Callable[[], S3CredentialProvider | None] | None = None,
    ) -> None:
        self.root = f"{scheme}://{bucket}/{prefix}/" if prefix else f"{scheme}://{bucket}/"
        self._scheme, self._bucket, self._prefix, self._endpoint = scheme, bucket, prefix, endpoint
        self._failure = failure
        self._patience = patience
        self._credentials = credentials

    @cached_property
    def _blobs(self) -> S3Store | GCSStore | AzureStore:
        from obstore.store import AzureStore, GCSStore, S3Store

        # We try again ourselves: obstore neither repeats a body that broke off, nor says whether a write that met
        # another blob had been tried before.
        once: RetryConfig = {"max_retries": 0}
        client: ClientConfig = {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=max(1.0, min(ANSWER_SECONDS, self._patience))),
            "timeout": timedelta(hours=1),
        }
        if bundle := os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE"):
            client["root_certificate"] = Path(bundle).read_bytes()
        prefix = self._prefix or None
        if self._scheme == "gs":
            return GCSStore(self._bucket, prefix=prefix, client_options=client, retry_config=once)
        if self._scheme == "az":
            return AzureStore(self._bucket, prefix=prefix, client_options=client, retry_config=once)
        config: S3Config = {"disable_bulk_delete": True}  # not every store of this kind deletes many at once
        if self._endpoint:
            config["endpoint"] = self._endpoint
        return S3Store(
            self._bucket,
            prefix=prefix,
            config=config,
            client_options=client,
            retry_config=once,
            credential_provider=self._credentials() if self._credentials else None,
        )

    def read(self, name: str, limit: int | None = None) -> bytes:
        def got() -> bytes:  # with its body: a connection may break off in the middle of it
            found = self._blobs.get(name)
            if limit is not None and found.meta["size"] > limit:
                raise TooLargeError(f"{self.uri(name)}: more than {limit} bytes")
            return bytes(found.bytes())

        return self._do("read", name, got)

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def replace(self, name: str, content: bytes | Path) -> None:
        body = content if isinstance(content, bytes) else content.read_bytes()
        # Named, because a browser would offer a page of unknown type for download.
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        put = self._blobs.put
        self._do("write", name, lambda: put(name, body, attributes={"Content-Type": kind}, use_multipart=False))

    def create(self, name: str, content: bytes) -> bool:
        try:
            self._do("write", name, lambda: self._blobs.put(name, content, mode="create"))
        except _TakenError as taken:
            # If the answer to an exclusive write was lost, the second attempt meets the first one's blob.
            return taken.maybe_by_us and self.read(name) == content
        return True

    def names(self, prefix: str) -> Iterator[str]:
        return (name for name, _ in self.tags(prefix))

    def tags(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        last = f"{prefix}/{after}" if after else None
        while True:
            page = self._do("list", prefix, partial(self._page, prefix, last))
            yield from ((blob["path"], str(blob["e_tag"])) for blob in page)
            if len(page) < PAGE:
                return
            last = page[-1]["path"]

    def _page(self, prefix: str, last: str | None) -> Sequence[ObjectMeta]:
        return next(self._blobs.list(prefix, offset=last, chunk_size=PAGE), [])

    def folders(self, prefix: str) -> list[str]:
        found = self._do("list", prefix, lambda: self._blobs.list_with_delimiter(prefix))
        return sorted(folder.rstrip("/").rpartition("/")[2] for folder in found["common_prefixes"])

    def modified(self, name: str) -> datetime:
        return self._do("read", name, lambda: self._blobs.head(name))["last_modified"]

    def size(self, name: str) -> int:
        return self._do("read", name, lambda: self._blobs.head(name))["size"]

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._do("delete", name, lambda: self._blobs.delete(name))

    def clear(self, prefix: str) -> None:
        for name in self.names(prefix):
            self.delete(name)

    def sweep(self, prefix: str) -> None:
        pass  # an incomplete upload is no blob

    def uri(self, name: str) -> str:
        return f"{self.root}{name}"

    def _do(self, act: str, name: str, call: Callable[[], Answer]) -> Answer:
        """A call's answer, after as many tries as it takes; else the caller's failure.

        Raises `FileNotFoundError` for a blob that is not there, `_TakenError` for an exclusive write that met one.
        """
        from obstore.exceptions import BaseError

        maybe_done, began = False, time.monotonic()
        for tries in count(1):
            try:
                return call()
            except (BaseError, OSError) as error:
                refusal = Refusal.of(error)
                if refusal.not_there:
                    raise FileNotFoundError(self.uri(name)) from None
                if refusal.taken:
                    raise _TakenError(maybe_by_us=maybe_done) from None
                if tries >= refusal.tries or time.monotonic() - began > self._patience:
                    raise self._failure(f"cannot {act} {self.uri(name)}: {refusal}") from error
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
