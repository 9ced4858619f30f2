"""HEAD is answered wherever GET is, and other methods are told what there is."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE

MORE = (
    "/metrics",
    "/openapi.json",
    "/no/such/path",
    "/v1/models/flight_delay/deployments?limit=0",
    "/v1/location?code=JFK",
)


def documented(server: ServingProcess) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/openapi.json").json()["paths"]
    return found


def heads(server: ServingProcess, path: str) -> list[bytes]:
    """What the server sends for HEAD, and for another request on the same connection: each up to its end."""
    request = f" {path} HTTP/1.1\r\nhost: x\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(f"HEAD{request}\r\nHEAD{request}connection: close\r\n\r\n".encode())
        found = b""
        while more := connection.recv(65_536):
            found += more
    return found.split(b"\r\n\r\n")


def test_head_has_status_and_headers_of_get_and_no_body(ready: ServingProcess) -> None:
    paths = [path for path, methods in documented(ready).items() if "get" in methods and "{" not in path]
    assert {"/healthz", "/readyz", "/v1/model", "/v1/models", "/v1/forecast"} <= set(paths)
    changing = {"x-request-id", "date", "connection"}

    of_use_case = [f"/v1/models/flight_delay{rest}" for rest in ("", "/release", "/deployments", "/predictions/1")]
    for path in [*paths, *of_use_case, *MORE]:
        got, asked = (httpx.request(method, f"{ready.url}{path}", timeout=PATIENCE) for method in ("GET", "HEAD"))
        assert asked.status_code == got.status_code, path
        said, wanted = (
            {name: value for name, value in one.headers.items() if name not in changing} for one in (asked, got)
        )
        if path == "/metrics":  # it counts the requests that are made of it
            wanted["content-length"] = said["content-length"]
        assert said == wanted, path
        *both, rest = heads(ready, path)
        assert (len(both), rest) == (2, b""), path
        assert all(head.startswith(b"HTTP/1.1 ") for head in both), path


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/v1/model", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/openapi.json", "GET, HEAD"),
        ("PUT", "/v1/models/flight_delay/release", "GET, HEAD"),
        ("GET", "/v1/models/flight_delay/predict", "POST"),
        ("HEAD", "/v1/models/nobody/predict", "POST"),
        ("GET", "/v1/predict", "POST"),
        ("HEAD", "/v1/predict", "POST"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_told_those_it_has(
    ready: ServingProcess, method: str, path: str, allowed: str
) -> None:
    answer = httpx.request(method, f"{ready.url}{path}", timeout=PATIENCE)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert answer.json() == {"detail": f"this path takes {allowed}"}
