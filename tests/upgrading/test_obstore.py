"""What obstore tells of a fault in its words only."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import socket
from typing import TYPE_CHECKING

import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from stores.refusal import TRIES, TRIES_IF_AWAY, Refusal

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config

KEYS: S3Config = {"access_key_id": "a", "secret_access_key": "b"}


class _Busy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"<Error><Code>SlowDown</Code></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def busy() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Busy)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fault(endpoint: str, config: S3Config) -> BaseError:
    once: RetryConfig = {"max_retries": 0}
    store = S3Store("bucket", config=config, endpoint=endpoint, client_options={"allow_http": True}, retry_config=once)
    with pytest.raises(BaseError) as raised:
        store.get("name")
    return raised.value


def test_obstore_still_tells_status_and_code_in_its_words(busy: str) -> None:
    said = str(fault(busy, KEYS))
    assert "status code: 503" in said
    assert "<Code>SlowDown</Code>" in said


def test_obstore_still_tells_a_broken_connection_in_its_words() -> None:
    with socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        down = Refusal.of(fault(f"http://127.0.0.1:{nobody.getsockname()[1]}", KEYS))
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+: Connection refused; is the endpoint up\?", str(down))
    assert down.tries == TRIES_IF_AWAY < TRIES


def test_obstore_still_names_the_identity_that_it_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    said = str(fault("http://127.0.0.1:9", {"metadata_endpoint": "http://127.0.0.1:9"}))
    assert "http://127.0.0.1:9/latest/api/token" in said
