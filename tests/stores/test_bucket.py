"""A bucket behind an authority of one's own, as companies have."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stores.bucket import BucketStore
from stores.store import StoreError
from tests.certificates import Authority


class Blob(BaseHTTPRequestHandler):
    """Answers every request with the same blob."""

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Length", "5"),
            ("ETag", '"1"'),
            ("Last-Modified", "Thu, 26 Nov 2026 10:00:00 GMT"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def endpoint(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store whose certificate that authority signed."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
    certificate = authority.sign("store")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blob)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_among_others_in_a_file_is_trusted(
    endpoint: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(Authority(tmp_path / "another").ca.read_bytes() + authority.ca.read_bytes())
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(bundle))

    assert BucketStore("s3", "bucket", "", endpoint=endpoint).read("blob") == b"hello"


def test_an_authority_that_nobody_named_is_refused_at_once_with_the_remedy(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(StoreError, match=r"no known authority signed its certificate; name .* in AWS_CA_BUNDLE"):
        BucketStore("s3", "bucket", "", endpoint=endpoint).read("blob")
