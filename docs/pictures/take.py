"""Takes the pictures of docs/ from a running `make up`, with a Chromium that nobody sees.

    make picture

Needs Chromium (`apt-get install chromium`), and a nightly run to show: `make up run`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from include.errors import FaultError, SettingsError, StepError
from include.use_case import load_use_case
from local.airflow import USER, Airflow
from local.http import ask
from local.services import open_services
from local.stack import load_stack

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 1400, 620
PAGE_SECONDS = 60
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


class Browser:
    """A Chromium controlled over two pipes, in its DevTools protocol."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "wb", buffering=0)
        self._numbers = count(1)
        self._rest = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    _session: str | None = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._writing.write(json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            continue
        if "error" in answer:
            raise FaultError(f"Chromium refused {method}: {answer['error']['message']}")
        return dict(answer["result"])

    def evaluate(self, script: str) -> Any:
        """The value of a piece of JavaScript in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until a piece of JavaScript says true."""
        deadline = time.monotonic() + PAGE_SECONDS
        while not self.evaluate(script):
            if time.monotonic() > deadline:
                raise FaultError(f"the page did not get ready in {PAGE_SECONDS} s: {script}")
            time.sleep(0.3)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = self._reading.read(1 << 16)
            if not chunk:
                raise FaultError("Chromium ended; does it start by hand?")
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh browser, gone afterwards with its profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SettingsError("Chromium is not installed: apt-get install chromium")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # Chromium expects its pipes as file descriptors 3 and 4; the shell puts them there.
        command = [program, *FLAGS, f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}"]
        child = subprocess.Popen(
            ["sh", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write}', "sh", *command],
            pass_fds=[to_read, from_write],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        try:
            yield Browser(from_read, to_write)
        finally:
            child.terminate()
            child.wait(20)


def take(page: Browser, url: str, name: str, ready: str) -> None:
    """One picture of one page, once its text holds `ready`."""
    page.call("Page.navigate", url=url)
    page.wait_for(f"document.body && document.body.innerText.includes({json.dumps(ready)})")
    for label in ("Collapse Details Panel", "Fit View"):
        time.sleep(2)  # the graph is laid out after its text is there, and again when it gets more room
        page.evaluate(f"document.querySelector('button[aria-label=\"{label}\"]')?.click()")
    time.sleep(2)
    picture = page.call("Page.captureScreenshot", format="png")["data"]
    path = FOLDER / name
    path.write_bytes(base64.b64decode(picture))
    print(f"{path} ({path.stat().st_size // 1024} kB)")


def log_in(page: Browser, airflow: Airflow) -> None:
    """Give the page the cookie that the login form would."""
    login = {"username": USER, "password": airflow.password}
    token = ask(f"{airflow.url}/auth/token", method="POST", body=login)["access_token"]
    page.call("Network.setCookie", name="_token", value=token, url=airflow.url)


def main() -> None:
    """Take every picture."""
    services = open_services(load_stack())
    airflow = services.airflow
    spec = load_use_case(services.stack.use_cases.split(",")[0]).spec
    dag = f"{spec.name}_nightly_training"
    runs = airflow.call("GET", f"/dags/{dag}/dagRuns?order_by=-run_after&limit=1&state=success")["dag_runs"]
    if not runs:
        raise FaultError(f"there is no successful run of {dag} to show yet: make run")
    run = quote(runs[0]["dag_run_id"])
    with browser() as page:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        log_in(page, airflow)
        page.call("Page.navigate", url=airflow.url)
        page.wait_for("document.readyState === 'complete'")
        page.evaluate("""localStorage.setItem('default_dag_view', '"graph"')""")
        take(page, f"{airflow.url}/dags/{dag}/runs/{run}?view=graph", "nightly_training.png", "smoke_test")


if __name__ == "__main__":
    try:
        main()
    except StepError as error:
        raise SystemExit(f"nightshift: {error}") from None
