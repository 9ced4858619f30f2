"""The stores of a step: its errors, its S3 endpoint, and credentials wherever boto3 finds them (profiles, SSO)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from include.errors import LakeError, SettingsError
from stores import store
from stores.store import AddressError, Failure, Store

if TYPE_CHECKING:
    from obstore.store import S3CredentialProvider

log = logging.getLogger("nightshift")

KEPT = timedelta(minutes=10)
"""How long obstore keeps credentials; boto3's are good for at least this long when it hands them out."""


def open_store(uri: str, *, s3_endpoint: str | None = None, failure: Failure | None = None) -> Store:
    """The store at a folder path, `file://…` or a bucket's address; what fails is a `LakeError`, or as `failure` says.

    Raises `SettingsError` for an address or an endpoint that is none.
    """
    if s3_endpoint is not None and not re.match(r"https?://[^/]", s3_endpoint):
        wanted = s3_endpoint.rpartition("://")[2]
        raise SettingsError(f"NIGHTSHIFT_S3_ENDPOINT {s3_endpoint!r} is no http address; write https://{wanted}")
    try:
        return store.open_store(uri, endpoint=s3_endpoint, failure=failure or _failure, credentials=_credentials)
    except AddressError as error:
        raise SettingsError(f"NIGHTSHIFT_LAKE {uri!r}: {error}") from None


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


def _failure(line: str) -> LakeError:
    return LakeError(f"lake: {line}")


def _credentials() -> S3CredentialProvider | None:
    """What boto3 finds; None where it finds nothing: a public bucket is read without (AWS_SKIP_SIGNATURE)."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session()
    return Boto3CredentialProvider(session, ttl=KEPT) if session.get_credentials() else None
