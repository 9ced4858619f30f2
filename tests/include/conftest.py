"""Places to keep bytes: a folder, and a bucket behind a real HTTP S3 API; a real Kafka broker; an empty MLflow."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from include.storage.store import open_store
from stores.store import Store
from tests.kafka_server import KafkaServer, require_kafka

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 API over HTTP. It is moto, a mock of S3: real requests, signatures and errors, but no real bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    server._server.app = exclusive(server._server.app)  # type: ignore[union-attr]
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def exclusive(app: WSGIApplication) -> WSGIApplication:
    """Exclusive writes one after the other, as S3 decides them: moto looks first, writes then, and lets two win."""
    turn = threading.Lock()

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with turn if "HTTP_IF_NONE_MATCH" in environ else nullcontext():
            return app(environ, start_response)

    return serve


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as a pod gets them: from the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def bucket(s3_endpoint: str, s3_credentials: None) -> str:
    """A new, empty bucket."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store(str(tmp_path / "a lake"))
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_store(f"s3://{request.getfixturevalue('bucket')}/some/prefix", s3_endpoint=endpoint)


@pytest.fixture(scope="session")
def killable_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    require_kafka()
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.begin()
    yield server
    server.kill()


@pytest.fixture
def kafka(killable_kafka: KafkaServer) -> KafkaServer:
    """The broker, up when the test begins."""
    killable_kafka.start()
    return killable_kafka


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a version: making one takes seconds, copying it none."""
    from include.model_registry.versions import Registry
    from include.settings import Settings

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Registry.open(Settings(tracking_url=f"sqlite:///{path}"), "flight_delay").versions()
    return path
