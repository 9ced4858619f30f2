"""A real browser that nobody sees, and what a page makes it do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAGE_SECONDS = 60
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
)


def require_chromium() -> None:
    """Skip, saying why, where there is no browser; never in CI."""
    if shutil.which("chromium") is not None:
        return
    why = "a browser needs chromium on this machine (apt-get install chromium)"
    if os.environ.get("CI"):
        pytest.fail(f"{why}, and in CI these tests may not be skipped")
    pytest.skip(why)


def opened(url: str, profile: Path) -> str:
    """The document as it stands after the browser has opened it and done what it says; `profile` is the browser's."""
    browser = subprocess.Popen(
        ["chromium", *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        document, said = browser.communicate(timeout=PAGE_SECONDS)
    finally:
        with suppress(ProcessLookupError):  # it is a script that starts the browser, and that starts others
            os.killpg(browser.pid, signal.SIGKILL)
    assert browser.returncode == 0, said[-2000:]
    return document


class Listener:
    """Somebody else's server, that a page which runs scripts can tell what it sees."""

    def __init__(self) -> None:
        self.told: list[str] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def answer(self) -> None:
                told.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
