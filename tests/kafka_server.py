"""A real Kafka broker, one KRaft node on the machine's Java, from Maven Central's artifacts; tests may kill it."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.postgres_server import free_port
from tests.waiting import PATIENCE

POM = Path(__file__).parent / "kafka" / "pom.xml"
CLASSPATH = Path(__file__).resolve().parents[1] / ".nightshift" / "kafka.classpath"
HEAP = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
BEGINNINGS = 3
USER, PASSWORD = "worker", "correct horse"


def require_kafka() -> None:
    """Skip, saying why, where no broker can be started; never in CI."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if not missing:
        return
    why = f"a Kafka broker needs {' and '.join(missing)} on this machine"
    if os.environ.get("CI"):
        pytest.fail(f"{why}, and in CI these tests may not be skipped")
    pytest.skip(why)


def classpath() -> str:
    """The broker's jars, resolved by Maven once and then found again."""
    if CLASSPATH.exists() and all(map(os.path.exists, CLASSPATH.read_text().split(":"))):
        return CLASSPATH.read_text()
    CLASSPATH.parent.mkdir(parents=True, exist_ok=True)
    argv = ["mvn", "-q", "-B", "-f", str(POM), "dependency:build-classpath", f"-Dmdep.outputFile={CLASSPATH}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"Maven could not fetch Kafka: {done.stdout[-2000:]}"
    return CLASSPATH.read_text()


class KafkaServer:
    """A broker with a listener that is plain, one that asks for a password, and one that also encrypts.

    The last shows a certificate of `authority`'s and asks for one. The log lies in a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._choose_ports()
        self.authority = Authority(folder / "certificates")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The plain listener, as NIGHTSHIFT_BROKER names it."""
        return f"kafka://127.0.0.1:{self.port}"

    @property
    def protected_address(self) -> str:
        """The listener that asks for a user."""
        return f"kafka://127.0.0.1:{self.sasl_port}"

    @property
    def encrypted_address(self) -> str:
        """The listener that asks for a user and a certificate, by TLS."""
        return f"kafka://127.0.0.1:{self.tls_port}"

    def _choose_ports(self) -> None:
        self.port, self.sasl_port, self.tls_port, self.controller_port = (free_port() for _ in range(4))

    def begin(self) -> None:
        """Start the broker for the first time; somebody else may take a port that was free just now."""
        for _ in range(BEGINNINGS):
            self.prepare()
            try:
                self.start()
            except AssertionError:
                self.kill()
                shutil.rmtree(self.folder / "log", ignore_errors=True)
                self._choose_ports()
            else:
                return
        raise AssertionError(f"the broker does not start: see {self.folder / 'kafka.log'}")

    def prepare(self) -> None:
        """Write the settings and format the log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(self._properties())
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings), "--standalone").wait(
            PATIENCE
        )

    def start(self) -> None:
        """Start the broker, or start it again, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = self._java("kafka.Kafka", str(self._settings))
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, f"the broker ended: see {self.folder / 'kafka.log'}"
            assert time.monotonic() < deadline, f"the broker does not answer: see {self.folder / 'kafka.log'}"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, *argv: str) -> subprocess.Popen[bytes]:
        with (self.folder / "kafka.log").open("ab") as log:
            return subprocess.Popen(["java", *HEAP, "-cp", classpath(), *argv], stdout=log, stderr=log, cwd=self.folder)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _properties(self) -> str:
        jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        plain, protected, tls = (f"127.0.0.1:{port}" for port in (self.port, self.sasl_port, self.tls_port))
        return f"""\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{plain},PROTECTED://{protected},TLS://{tls},CONTROLLER://127.0.0.1:{self.controller_port}
advertised.listeners=PLAINTEXT://{plain},PROTECTED://{protected},TLS://{tls}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROTECTED:SASL_PLAINTEXT,TLS:SASL_SSL
listener.name.protected.sasl.enabled.mechanisms=PLAIN
listener.name.protected.plain.sasl.jaas.config={jaas} user_{USER}="{PASSWORD}";
listener.name.tls.sasl.enabled.mechanisms=PLAIN
listener.name.tls.plain.sasl.jaas.config={jaas} user_{USER}="{PASSWORD}";
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={self.authority.sign("broker").both}
listener.name.tls.ssl.truststore.type=PEM
listener.name.tls.ssl.truststore.location={self.authority.ca}
listener.name.tls.ssl.client.auth=required
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{self.controller_port}
inter.broker.listener.name=PLAINTEXT
log.dirs={self.folder}/log
num.partitions=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""
