"""`python -m local.tracking_server`: MLflow's own server, behind a login, confined to one place for artifacts.

MLflow reads and writes whatever location an experiment names, as the user it runs as, and its login needs packages that
are not installed here. This module adds both around it and changes nothing else.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

USER = "admin"
ALWAYS_ANSWERED = "/health"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Login:
    """An ASGI application that requires the password, by HTTP's basic authentication."""

    def __init__(self, app: App, password: str) -> None:
        self.app = app
        self._expected = b"Basic " + base64.b64encode(f"{USER}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authorised request on."""
        if scope["type"] == "lifespan" or self._may(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"www-authenticate", b'Basic realm="MLflow"'), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"log in as admin; `make up` says the password\n"})

    def _may(self, scope: Scope) -> bool:
        if scope["path"] == ALWAYS_ANSWERED:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return secrets.compare_digest(given, self._expected)


def confine(root: str) -> None:
    """Let MLflow find artifacts below `root` (a folder, `file://…` or a bucket's prefix) and nowhere else."""
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as registry

    for scheme, repository in list(registry.get_registered_artifact_repositories().items()):
        if scheme not in ("runs", "models"):  # these lead to one of the others
            registry.register(scheme, partial(_confined, repository, root))


def _confined(repository: Callable[..., Any], root: str, artifact_uri: str, **kwargs: Any) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    if not within(root, artifact_uri):
        raise MlflowException(
            f"{artifact_uri} is not below {root}: this server reads and writes artifacts there only", PERMISSION_DENIED
        )
    return repository(artifact_uri, **kwargs)


def within(root: str, place: str) -> bool:
    """Whether a place is `root` or below it, wherever symbolic links lead."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(root) and is_local_uri(place):
        return (
            Path(local_file_uri_to_path(place)).resolve().is_relative_to(Path(local_file_uri_to_path(root)).resolve())
        )
    below = f"{place.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")
    return below and ".." not in unquote(place).split("/")


def main() -> None:
    """Serve until SIGTERM, as `MLFLOW_BACKEND_STORE_URI`, `…_DEFAULT_ARTIFACT_ROOT` and `…_TRACKING_PASSWORD` say."""
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    given = parser.parse_args()
    root = os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]
    # What `mlflow server` tells the processes that it starts.
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = os.environ["MLFLOW_BACKEND_STORE_URI"]
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = root
    from mlflow.server.fastapi_app import app

    confine(root)
    uvicorn.run(
        Login(app, os.environ["MLFLOW_TRACKING_PASSWORD"]), host=given.host, port=given.port, server_header=False
    )


if __name__ == "__main__":
    main()
