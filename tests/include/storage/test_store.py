"""A folder and a bucket keep the same promises. The bucket is a mock of S3 (moto) behind real HTTP requests."""

from __future__ import annotations

import os
import shutil
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import boto3
import pytest

from include.errors import DataError, ExitCode, LakeError, SettingsError
from include.storage.store import open_store, passing_folder
from stores.folder import LEFTOVER_SECONDS, FileStore
from stores.store import Store

WRITERS = 16


def test_what_is_put_there_is_read_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    store.replace("a/one.txt", b"bytes")
    store.replace("a/two.txt", tmp_path / "file")
    assert store.read("a/one.txt") == b"bytes"
    assert store.read("a/two.txt") == b"from a file"
    assert store.exists("a/one.txt")
    assert not store.exists("a")
    assert not store.exists("a/three.txt")


def test_replace_puts_the_new_over_the_old(store: Store) -> None:
    store.replace("a", b"old")
    store.replace("a", b"new")
    assert store.read("a") == b"new"


def test_create_never_writes_over_what_is_there(store: Store) -> None:
    assert store.create("a/manifest", b"first")
    assert not store.create("a/manifest", b"second")
    assert store.read("a/manifest") == b"first"


def test_the_bucket_itself_refuses_the_second_exclusive_write(bucket: str, s3_endpoint: str) -> None:
    # Given a store that cannot know of the other's write but from the server's answer
    one = open_store(f"s3://{bucket}", s3_endpoint=s3_endpoint)
    other = boto3.client("s3", endpoint_url=s3_endpoint)
    other.put_object(Bucket=bucket, Key="manifest", Body=b"first")
    # Then the conditional PUT is answered 412 and nothing changes
    assert not one.create("manifest", b"second")
    assert one.read("manifest") == b"first"
    with pytest.raises(other.exceptions.ClientError, match="PreconditionFailed"):
        other.put_object(Bucket=bucket, Key="manifest", Body=b"third", IfNoneMatch="*")


def test_of_many_who_create_at_once_exactly_one_wins(store: Store) -> None:
    for round_ in range(10):
        start = Barrier(WRITERS)

        def write(number: int, name: str = f"m-{round_}", start: Barrier = start) -> bool:
            start.wait()
            return store.create(name, b"%d" % number)

        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(write, range(WRITERS)))
        assert won.count(True) == 1
        assert store.read(f"m-{round_}") == b"%d" % won.index(True)


def test_names_are_those_below_a_folder_in_order(store: Store) -> None:
    for name in ("b/2/x", "b/1/y", "b/1/x", "bb/z", "a"):
        store.replace(name, b"")
    assert list(store.names("b")) == ["b/1/x", "b/1/y", "b/2/x"]
    assert list(store.names("nothing/here")) == []


def test_a_folder_shows_no_unfinished_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.replace("a/whole", b"1")
    (tmp_path / "a" / ".part-0123").write_bytes(b"half")
    assert list(store.names("a")) == ["a/whole"]


def test_the_bytes_of_a_blob_are_counted(store: Store) -> None:
    store.replace("a/one.txt", b"12345")
    assert store.size("a/one.txt") == 5
    with pytest.raises(FileNotFoundError):
        store.size("a/two.txt")


def test_what_a_killed_writer_left_is_swept_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    # Given a writer that was killed a while ago, one that is at work, and blobs of any age
    store = FileStore(tmp_path)
    store.replace("case/a/whole", b"1")
    old, fresh = tmp_path / "case" / "a" / ".part-old", tmp_path / "case" / ".part-fresh"
    for file in (old, fresh):
        file.write_bytes(b"half")
    for file in (old, tmp_path / "case" / "a" / "whole"):
        os.utime(file, (time.time() - LEFTOVER_SECONDS - 60,) * 2)
    # When the folder is swept
    store.sweep("case")
    # Then only the old one is gone
    assert not old.exists()
    assert fresh.exists()
    assert store.read("case/a/whole") == b"1"


@pytest.mark.parametrize("mount_point", [True, False])
def test_nothing_is_written_where_a_folder_was_while_its_mount_is_away(tmp_path: Path, mount_point: bool) -> None:
    # Given a folder that goes, and leaves an empty mount point or nothing
    root, elsewhere = tmp_path / "lake", tmp_path / "elsewhere"
    store = open_store(str(root))
    store.replace("a", b"1")
    root.rename(elsewhere)
    if mount_point:
        root.mkdir()
    # Then writing is a fault that says so, and nothing is written
    for write in (store.replace, store.create):
        with pytest.raises(LakeError, match=r"/lake was there and is (gone|empty now); bring its mount back"):
            write("case/b", b"2")
    assert root.exists() == mount_point
    assert not (root / "case").exists()
    # When it is back
    if mount_point:
        root.rmdir()
    elsewhere.rename(root)
    # Then work goes on
    assert store.create("case/b", b"2")
    assert store.read("a") == b"1"


def test_a_folder_that_was_mounted_again_is_the_same_lake(tmp_path: Path) -> None:
    # Given a lake that comes back by another device or inode, with what is in it
    store = FileStore(tmp_path / "lake")
    store.replace("a", b"1")
    shutil.copytree(tmp_path / "lake", tmp_path / "copy")
    (tmp_path / "lake").rename(tmp_path / "old")
    (tmp_path / "copy").rename(tmp_path / "lake")
    store.replace("b", b"2")
    assert store.read("a") == b"1"


def test_what_is_not_there_is_a_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    store.delete("nothing")


def test_what_is_deleted_is_gone(store: Store) -> None:
    store.replace("a", b"1")
    store.delete("a")
    assert not store.exists("a")


def test_a_folders_address_opens_in_any_other_program(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "with space & ümlaut")
    store.replace("a b.txt", b"1")
    with urllib.request.urlopen(store.uri("a b.txt")) as opened:
        assert opened.read() == b"1"
    assert FileStore(Path(urllib.parse.unquote(urllib.parse.urlparse(store.uri("")).path))).read("a b.txt") == b"1"


def test_a_page_in_a_bucket_is_named_a_page(bucket: str, s3_endpoint: str) -> None:
    open_store(f"s3://{bucket}", s3_endpoint=s3_endpoint).replace("docs/index.html", b"<html>")
    head = boto3.client("s3", endpoint_url=s3_endpoint).head_object(Bucket=bucket, Key="docs/index.html")
    assert head["ContentType"] == "text/html"


@pytest.mark.parametrize(
    ("endpoint", "wanted"),
    [
        ("minio:9000", "https://minio:9000"),
        ("minio.internal", "https://minio.internal"),
        ("s3://minio", "https://minio"),
    ],
)
def test_an_endpoint_that_is_no_web_address_is_refused_by_the_settings_name(endpoint: str, wanted: str) -> None:
    with pytest.raises(SettingsError, match=f"NIGHTSHIFT_S3_ENDPOINT '{endpoint}' is no http address; write {wanted}"):
        open_store("s3://bucket/lake", s3_endpoint=endpoint)


@pytest.mark.parametrize("uri", ["ftp://host/lake", "hdfs://name/lake"])
def test_an_unknown_kind_of_place_is_refused_by_name(uri: str) -> None:
    with pytest.raises(SettingsError, match=uri.split("/", maxsplit=1)[0]):
        open_store(uri)


def test_a_relative_path_a_file_uri_and_an_absolute_path_are_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("my lake").replace("a", b"1")
    assert open_store(str(tmp_path / "my lake")).read("a") == b"1"
    assert open_store((tmp_path / "my lake").as_uri()).read("a") == b"1"


@pytest.mark.parametrize("act", ["read", "replace", "create"])
def test_a_lake_that_is_no_folder_is_one_clear_line(tmp_path: Path, act: str) -> None:
    # Given a plain file where the lake should be
    (tmp_path / "lake").write_text("not a folder")
    store = open_store(str(tmp_path / "lake"))
    # Then any use of it is a fault that names the place
    with pytest.raises(LakeError, match=r"lake: cannot (read|write) .*/lake/x: .*try again") as raised:
        store.read("x") if act == "read" else getattr(store, act)("x", b"1")
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code is ExitCode.FAULT


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that is full when the file is flushed
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    # Then the write is one clear line
    with pytest.raises(LakeError, match="No space left on device"):
        open_store(str(tmp_path)).replace("a/b", b"1")
    # And not even an unfinished file stays
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class UnclearableStore(FileStore):
    """A folder of which nothing can be deleted, as of a throttled bucket."""

    def clear(self, prefix: str) -> None:
        raise LakeError(f"lake: cannot delete {prefix}: SlowDown")


def test_a_folder_that_passes_is_cleared_however_its_block_ends(store: Store) -> None:
    with pytest.raises(DataError, match="the cause"), passing_folder(store, "scratch"):
        store.replace("scratch/a", b"1")
        raise DataError("the cause")
    assert list(store.names("scratch")) == []


def test_what_cannot_be_cleared_hides_neither_an_error_nor_a_success(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = UnclearableStore(tmp_path)
    with pytest.raises(DataError, match="the cause"), passing_folder(store, "scratch"):
        raise DataError("the cause")
    with passing_folder(store, "scratch"):
        store.replace("scratch/a", b"1")
    assert caplog.text.count("scratch stays for a later run to clear: lake: cannot delete scratch: SlowDown") == 2


def test_an_s3_endpoint_that_is_down_is_one_clear_line(s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.bucket.PAUSE_SECONDS", 0.001)
    store = open_store("s3://bucket/lake", s3_endpoint="http://127.0.0.1:9")
    with pytest.raises(LakeError, match=r"lake: cannot read s3://bucket/lake/x: .*endpoint") as raised:
        store.read("x")
    assert "\n" not in str(raised.value)


def test_a_bucket_that_is_not_there_is_no_missing_blob(s3_endpoint: str, s3_credentials: None) -> None:
    store = open_store("s3://nobody-made-this", s3_endpoint=s3_endpoint)
    with pytest.raises(LakeError, match="NoSuchBucket; check bucket and credentials"):
        store.read("x")
