"""Behind a company's proxy, this machine is reached directly and the rest of the world through the proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.loopback import reach_directly

ROOT = Path(__file__).resolve().parents[2]
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

# As a step's process does: its settings are read before anything is asked for.
ASKED = """
import json, sys
KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
from include.settings import load_settings
from tests.waiting import PATIENCE
load_settings()

def by_urllib(url):
    from urllib.request import urlopen
    return urlopen(url, timeout=PATIENCE).read().decode()

def by_requests(url):
    import requests
    return requests.get(url, timeout=PATIENCE).text

def by_httpx(url):
    import httpx
    return httpx.get(url, timeout=PATIENCE).text

def by_aiohttp(url):
    import aiohttp, asyncio
    async def ask():
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
            return await answer.text()
    return asyncio.run(ask())

def by_boto3(url):
    import boto3
    client = boto3.client("s3", endpoint_url=url, region_name="x", **KEYS)
    return client.get_object(Bucket="bucket", Key="key")["Body"].read().decode()

print(json.dumps({url: globals()[f"by_{sys.argv[1]}"](url) for url in sys.argv[2:]}))
"""


@contextmanager
def answering(word: str) -> Iterator[tuple[int, list[str]]]:
    """A server that answers everything with a word; its port, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(word)))
            self.end_headers()
            self.wfile.write(word.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.stack
@pytest.mark.parametrize("client", ["urllib", "requests", "httpx", "aiohttp", "boto3"])
def test_a_client_asks_this_machine_itself_and_the_world_by_the_proxy(client: str) -> None:
    # Given a proxy in the environment, in every spelling, and no exception from it
    with answering("ours") as (port, _), answering("proxied") as (proxy, through):
        own = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= dict.fromkeys(PROXIES, f"http://127.0.0.1:{proxy}") | {"PYTHONPATH": str(ROOT)}
        # When a client asks our servers, and one of the world
        argv = [sys.executable, "-c", ASKED, client, *own, "http://records.example"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    # Then only the world's was asked for by the proxy
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(own, "ours") | {"http://records.example": "proxied"}
    assert {url.partition("example")[0] for url in through} == {"http://records."} or client == "boto3"


@pytest.mark.parametrize("named", ["NO_PROXY", "no_proxy"])
def test_what_is_exempt_stays_exempt_and_both_spellings_say_the_same(named: str) -> None:
    environment = {"https_proxy": "http://proxy:1", named: "wiki.corp, 10.0.0.0/8"}
    for _ in range(2):
        reach_directly("10.1.2.3", "", environment=environment)
    assert environment["NO_PROXY"] == "wiki.corp,10.0.0.0/8,localhost,127.0.0.1,::1,10.1.2.3"
    assert environment["no_proxy"] == environment["NO_PROXY"]


def test_without_a_proxy_nothing_is_said_of_exceptions() -> None:
    environment = {"HTTP_PROXY": "", "NO_PROXY": "wiki.corp"}
    reach_directly(environment=environment)
    assert environment == {"HTTP_PROXY": "", "NO_PROXY": "wiki.corp"}
