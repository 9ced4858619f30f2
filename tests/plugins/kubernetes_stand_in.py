"""A stand-in for a Kubernetes API server: NOT a cluster, and no container runs.

It speaks enough of the real HTTP API (create, get, list, log, patch, delete a pod; list events) for the provider's real
client to run a pod to its end, with a real kubeconfig. A pod that is submitted goes through the states that the test
wrote down for it. What its container would have been given, argv and environment, is worked out here from the submitted
JSON, independently of the project's own interpreter.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods(?:/(?P<name>[^/]+))?(?P<log>/log)?")


@dataclass(frozen=True)
class Script:
    """How a pod's container fares: what it prints, when and how it ends."""

    lines: tuple[str, ...] = ()
    seconds: float = 0.0
    exit_code: int = 0
    message: str | Callable[[dict[str, Any]], str] = "{}"
    container_reason: str = ""
    pod_reason: str = ""
    pod_message: str = ""
    waiting: tuple[str, str] | None = None
    """Reason and message of a container that never starts."""


@dataclass
class Pod:
    """A submitted pod."""

    body: dict[str, Any]
    script: Script
    started: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return not self.script.waiting and time.monotonic() - self.started >= self.script.seconds

    def status(self) -> dict[str, Any]:
        """The pod's status at this moment."""
        script = self.script
        if script.waiting:
            reason, message = script.waiting
            return {
                "phase": "Pending",
                "containerStatuses": [self._container({"waiting": {"reason": reason, "message": message}})],
            }
        if not self.over:
            return {"phase": "Running", "containerStatuses": [self._container({"running": {"startedAt": now()}})]}
        message = script.message if isinstance(script.message, str) else script.message(self.body)
        ended = {
            "exitCode": script.exit_code,
            "message": message,
            "reason": script.container_reason or ("Error" if script.exit_code else "Completed"),
            "startedAt": now(),
            "finishedAt": now(),
        }
        status: dict[str, Any] = {
            "phase": "Failed" if script.exit_code else "Succeeded",
            "containerStatuses": [self._container({"terminated": ended})],
        }
        if script.pod_reason:
            status |= {"phase": "Failed", "reason": script.pod_reason, "message": script.pod_message}
        return status

    def _container(self, state: dict[str, Any]) -> dict[str, Any]:
        spec = self.body["spec"]["containers"][0]
        return {
            "name": spec["name"],
            "image": spec["image"],
            "imageID": "sha256:0",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }


class Cluster:
    """The stand-in server, one per test; `script` is what the next pod will do."""

    def __init__(self) -> None:
        self.script = Script()
        self.pods: dict[str, Pod] = {}
        self.submitted: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.requests: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop serving."""
        for pod in self.pods.values():
            pod.gone.set()
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig file that leads here."""
        url = f"http://127.0.0.1:{self.server.server_port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
            "users": [{"name": "tester", "user": {"token": "tester"}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "tester"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def create(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        body["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        self.submitted.append(json.loads(json.dumps(body)))
        self.pods[body["metadata"]["name"]] = Pod(body, self.script)
        return self.shown(body["metadata"]["name"])

    def shown(self, name: str) -> dict[str, Any]:
        pod = self.pods[name]
        return {**pod.body, "status": pod.status()}

    def matching(self, selector: str) -> list[dict[str, Any]]:
        return [
            self.shown(name) for name, pod in self.pods.items() if matches(selector, pod.body["metadata"]["labels"])
        ]


def given(body: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What a kubelet would give the container of a submitted pod: its argv, and its declared environment."""
    container = body["spec"]["containers"][0]
    environment: dict[str, str] = {}
    for variable in container["env"]:
        if "valueFrom" not in variable:
            environment[variable["name"]] = variable.get("value", "")
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            with suppress(KeyError):
                environment[variable["name"]] = secrets[reference["name"]][reference["key"]]
    return {"argv": [*container["command"], *container["args"]], "environment": environment}


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector of `k=v`, `k!=v` and `!k` terms."""
    for term in selector.split(","):
        if term.startswith("!"):
            fits = term[1:] not in labels
        elif "!=" in term:
            key, _, value = term.partition("!=")
            fits = labels.get(key) != value
        else:
            key, _, value = term.partition("=")
            fits = labels.get(key) == value
        if not fits:
            return False
    return True


def now() -> str:
    """The time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    """The request handler of one cluster."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.route("POST")

        def do_GET(self) -> None:
            self.route("GET")

        def do_PATCH(self) -> None:
            self.route("PATCH")

        def do_DELETE(self) -> None:
            self.route("DELETE")

        def route(self, method: str) -> None:
            url = urlparse(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body: Any = json.loads(self.rfile.read(length) or b"null") if length else None
            cluster.requests.append(f"{method} {url.path}")
            if url.path.endswith("/events"):
                return self.answer(200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []})
            found = PODS.fullmatch(url.path)
            if not found:
                return self.problem(404, f"no such path {url.path}")
            if method == "POST" and cluster.refusal:
                return self.problem(*cluster.refusal)
            if method == "POST":
                return self.answer(201, cluster.create(found["namespace"], body))
            if found["name"] is None:
                items = cluster.matching(query.get("labelSelector", ""))
                return self.answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
            if found["name"] not in cluster.pods:
                return self.problem(404, f'pods "{found["name"]}" not found')
            return self.one(method, found["name"], bool(found["log"]), body)

        def one(self, method: str, name: str, log: bool, body: Any) -> None:
            pod = cluster.pods[name]
            if log:
                return self.stream(pod)
            if method == "PATCH":
                pod.body["metadata"]["labels"] |= body["metadata"]["labels"]
            shown = cluster.shown(name)
            if method == "DELETE":
                cluster.deleted.append(name)
                cluster.pods.pop(name).gone.set()
            return self.answer(200, shown)

        def stream(self, pod: Pod) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Connection", "close")
            self.end_headers()
            for line in pod.script.lines:
                self.wfile.write(f"{now()} {line}\n".encode())
                self.wfile.flush()
            while not pod.over and not pod.gone.wait(0.02):
                pass
            self.close_connection = True

        def problem(self, code: int, message: str) -> None:
            self.answer(code, {"kind": "Status", "status": "Failure", "message": message, "code": code})

        def answer(self, code: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
