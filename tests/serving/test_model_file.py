from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from serving.errors import FetchError
from serving.model_file import fetch


class _OneFile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/model.onnx" else 404)
        self.end_headers()
        self.wfile.write(b"over http")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _OneFile)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_path_and_a_file_uri_are_read_even_with_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "model 1%.onnx"
    path.parent.mkdir()
    path.write_bytes(b"on disk")

    assert fetch(str(path)) == fetch(path.as_uri()) == b"on disk"


def test_http_is_read(site: str) -> None:
    assert fetch(f"{site}/model.onnx") == b"over http"


def test_s3_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    bucket.start()
    try:
        host, port = bucket.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="lake")
        client.put_object(Bucket="lake", Key="models/a.onnx", Body=b"in a bucket")

        assert fetch("s3://lake/models/a.onnx", s3_endpoint=endpoint) == b"in a bucket"
        with pytest.raises(FetchError, match=r"s3://lake/models/b\.onnx: there is no such file"):
            fetch("s3://lake/models/b.onnx", s3_endpoint=endpoint)
    finally:
        bucket.stop()


def test_what_is_not_there_is_named(tmp_path: Path, site: str) -> None:
    with pytest.raises(FetchError, match=r"gone\.onnx: there is no such file"):
        fetch(str(tmp_path / "gone.onnx"))
    with pytest.raises(FetchError, match=r"/other\.onnx: answered 404"):
        fetch(f"{site}/other.onnx")
    with pytest.raises(FetchError, match="no store for ftp://"):
        fetch("ftp://example.org/model.onnx")


def test_too_large_a_file_is_refused(tmp_path: Path, site: str) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(b"0123456789")

    assert fetch(str(path), limit=10) == b"0123456789"
    with pytest.raises(FetchError, match="more than 9 bytes"):
        fetch(str(path), limit=9)
    with pytest.raises(FetchError, match="more than 5 bytes"):
        fetch(f"{site}/model.onnx", limit=5)
