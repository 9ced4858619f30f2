"""Files behind a URL: answers that end early, that are no HTTP, that are packed or without end, and odd names."""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest

from include.errors import DataError, ExitCode, FaultError, SettingsError
from include.sources import download
from include.sources.tabular import Files, TabularSource

DAY = date(2026, 5, 20)
CSV = b"id,date\na,2026-05-20\n"
ROOT = Path(__file__).parents[3]


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class Server:
    """Answers each connection with the next of its raw answers, the last one for ever; an empty one is a reset."""

    def __init__(self) -> None:
        self.answers: list[bytes | Callable[[socket.socket], None]] = []
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.root = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    self.asked.append(client.recv(65536).split()[1].decode())
                    given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                    if callable(given):
                        given(client)
                    elif given:
                        client.sendall(given)
                    else:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    server = Server()
    yield server
    server.close()


def read(root: str, path: str = "{date}.csv", **more: Any) -> list[dict[str, str]]:
    source = TabularSource(root, {"sales": Files(path, **more)}, first_day=DAY)
    return list(source.read("sales", DAY).to_pylist())


ROWS = [{"id": "a", "date": "2026-05-20"}]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nid,date\n"
STUMBLES = {
    "ends early": (answer(CSV, length=1000), "the answer ended before its end, 979 bytes are missing"),
    "a chunk ends early": (CHUNKED, "the answer ended before its end"),
    "no HTTP": (b"hello\r\n", "the answer is no HTTP: 'hello"),
    "closed": (b"\r\n", "the answer is no HTTP"),
    "reset": (b"", "reset"),
    "a status that is no number": (b"HTTP/1.1 two hundred\r\n\r\n", "the answer is no HTTP"),
    "busy": (answer(b"", status="503 Busy"), "HTTP 503 Busy"),
    "a header without end": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "header line"),
}


@pytest.mark.parametrize(("bytes_", "reason"), STUMBLES.values(), ids=STUMBLES.keys())
def test_an_answer_that_fails_is_asked_for_three_times(server: Server, bytes_: bytes, reason: str) -> None:
    # When it fails twice and then comes whole, nothing is lost
    server.answers = [bytes_, bytes_, answer(CSV)]
    assert read(server.root) == ROWS
    # And when it never does, that is a fault, in one line
    server.answers, server.asked = [bytes_], []
    with pytest.raises(FaultError) as raised:
        read(server.root)
    assert len(server.asked) == 3
    assert str(raised.value).startswith(f"source: {server.root}/2026-05-20.csv cannot be read after 3 attempts: ")
    assert reason in str(raised.value)
    assert str(raised.value).endswith("; is the address right and up?")
    assert "\n" not in str(raised.value)


ODD = [
    "with space",
    "März",
    "50%",
    "a%20b",
    "50%25",
    "#1",
    "what?",
    "a&b=c;d",
    "plus+",
    "[x]{{a,b}}",
    "quote'",
    "雪",
    "a:b@c",
]


@pytest.mark.parametrize("name", ODD)
def test_a_name_with_odd_characters_is_the_name_of_the_file(server: Server, tmp_path: Path, name: str) -> None:
    written = name.replace("{{", "{").replace("}}", "}")
    server.answers = [answer(CSV)]
    assert read(server.root, f"{name}/{name}-{{date}}.csv") == ROWS
    assert unquote(server.asked[0]) == f"/{written}/{written}-2026-05-20.csv"
    # And in a folder, by its path and by its address
    (tmp_path / written).mkdir()
    (tmp_path / written / f"{written}-2026-05-20.csv").write_bytes(CSV)
    assert read(str(tmp_path), f"{name}/{name}-{{date}}.csv") == ROWS
    assert read(tmp_path.as_uri(), f"{name}/{name}-{{date}}.csv") == ROWS
    assert read(str(tmp_path / written), f"{name}-{{date}}.csv") == ROWS
    assert read((tmp_path / written).as_uri(), f"{name}-{{date}}.csv") == ROWS


def test_a_name_with_odd_characters_is_the_name_in_a_bucket(bucket: str, s3_endpoint: str) -> None:
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    for name in ("a b", "März", "50%25", "#1", "what?"):
        client.put_object(Bucket=bucket, Key=f"in/{name}.csv", Body=CSV)
        files = Files(f"{name}.csv", "date")
        source = TabularSource(f"s3://{bucket}/in", {"sales": files}, first_day=DAY, s3_endpoint=s3_endpoint)
        assert source.read("sales", DAY).to_pylist() == ROWS


def test_a_root_with_odd_characters_and_a_signature_is_asked_as_it_is_meant(server: Server) -> None:
    server.answers = [answer(CSV)]
    assert read(f"{server.root}/my data/M%C3%A4rz/?sig=a%2Fb") == ROWS
    assert server.asked == ["/my%20data/M%C3%A4rz/2026-05-20.csv?sig=a%2Fb"]


WRONG = {
    "http://": "names no host",
    "https:///data": "names no host",
    "http://host:port/data": "is no address: Port could not be cast",
    "http://host:99999/data": "is no address: Port out of range",
    "http://[::1/data": "is no address",
    "http://a b/data": "names no host",
    "http://user:secret@host/data": "the address of host holds a user or a password",
    "http://host/data#part": "has a #",
    "s3://key:secret@bucket/data": "holds a user or a password",
    "ftp://host/data": "nothing reads ftp://",
    "s3://": "names no bucket",
    "file://data/in": "names the host data",
}


@pytest.mark.parametrize(("root", "reason"), WRONG.items())
def test_a_wrong_address_is_a_wrong_setting(root: str, reason: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(root)
    assert reason in str(raised.value)
    assert raised.value.exit_code is ExitCode.BAD_SETTINGS
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_sends_on_to_no_address_is_told(server: Server) -> None:
    server.answers = [answer(b"", "Location: http://127.0.0.1:port/", status="302 Found")]
    with pytest.raises((SettingsError, FaultError), match=r"2026-05-20\.csv"):
        read(server.root)


# Packed


@pytest.mark.parametrize("path", ["{date}.csv", "{date}.csv.gz"])
def test_a_file_that_its_server_packs_is_unpacked(server: Server, path: str) -> None:
    packed = gzip.compress(CSV) if path.endswith(".gz") else CSV
    server.answers = [answer(gzip.compress(packed), "Content-Encoding: gzip")]
    assert read(server.root, path) == ROWS


def test_a_packed_file_may_be_called_packed_by_its_server_too(server: Server) -> None:
    server.answers = [answer(gzip.compress(CSV), "Content-Encoding: gzip")]
    assert read(server.root, "{date}.csv.gz") == ROWS


def test_a_coding_that_nobody_reads_is_named(server: Server) -> None:
    server.answers = [answer(b"...", "Content-Encoding: br")]
    with pytest.raises(DataError, match=r"2026-05-20.csv is sent as 'br'; let the server send it as it is, or as gzip"):
        read(server.root)


DAMAGED = {
    "cut": gzip.compress(CSV)[:-9],
    "changed": gzip.compress(CSV)[:-8] + b"12345678",
    "followed by something": gzip.compress(CSV) + b"more",
    "not packed": CSV,
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_packed_file_that_is_not_whole_is_broken(server: Server, body: bytes) -> None:
    server.answers = [answer(body)]
    with pytest.raises(DataError, match=r"2026-05-20.csv.gz is broken: .*; deliver it again"):
        read(server.root, "{date}.csv.gz")


def test_a_file_packed_in_pieces_is_whole(server: Server) -> None:
    server.answers = [answer(gzip.compress(CSV[:9]) + gzip.compress(CSV[9:]))]
    assert read(server.root, "{date}.csv.gz") == ROWS


# Too much


def without_end(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\nid,date\n")
    for _ in itertools.count():
        client.sendall(b"a,2026-05-20\n" * 10_000)


def of_a_great_length(client: socket.socket) -> None:
    client.sendall(answer(CSV, length=1 << 40))


def packed(client: socket.socket) -> None:
    client.sendall(answer(gzip.compress(b"id,date\n" + b"a,2026-05-20\n" * (30 << 20), 1)))


def packed_by_the_server(client: socket.socket) -> None:
    client.sendall(answer(gzip.compress(bytes(400 << 20), 1), "Content-Encoding: gzip"))


BOMB = {
    "without end": ("{date}.csv", without_end),
    "of a great length": ("{date}.csv", of_a_great_length),
    "packed": ("{date}.csv.gz", packed),
    "packed by the server": ("{date}.csv", packed_by_the_server),
}
PEAK = """
import resource, sys
from datetime import date
from include.errors import DataError
from include.sources.tabular import Files, TabularSource
day = date(2026, 5, 20)
source = TabularSource(sys.argv[1], {"sales": Files(sys.argv[2], max_bytes=32 << 20)}, first_day=day)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    source.read("sales", day)
except DataError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, error)
"""


@pytest.mark.stack
@pytest.mark.parametrize(("path", "given"), BOMB.values(), ids=BOMB.keys())
def test_a_file_without_end_costs_no_more_than_its_limit(
    server: Server, path: str, given: Callable[[socket.socket], None]
) -> None:
    server.answers = [given]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, server.root, path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    peak, _, message = done.stdout.strip().partition(" ")
    assert message == (
        f"source: {server.root}/{path.format(date=DAY)} has more than 32 MiB, packed or unpacked; deliver smaller "
        "files, or raise max_bytes of its Files (and the memory of the step)"
    ), done.stderr
    assert int(peak) < 4 * 32
    assert len(server.asked) == 1


def test_a_file_in_a_folder_or_a_bucket_has_the_same_limit(tmp_path: Path, bucket: str, s3_endpoint: str) -> None:
    (tmp_path / "all.csv").write_bytes(CSV)
    boto3.client("s3", endpoint_url=s3_endpoint).put_object(Bucket=bucket, Key="all.csv", Body=CSV)
    for root in (str(tmp_path), f"s3://{bucket}"):
        for most, fits in ((len(CSV), True), (len(CSV) - 1, False)):
            files = Files("all.csv", "date", max_bytes=most)
            source = TabularSource(root, {"sales": files}, first_day=DAY, s3_endpoint=s3_endpoint)
            if fits:
                assert source.read("sales", DAY).to_pylist() == ROWS
            else:
                with pytest.raises(DataError, match=rf"{root}/all.csv has more than .* raise max_bytes"):
                    source.read("sales", DAY)
