"""A load balancer before the replicas: HAProxy, which asks /readyz, and tries again what did not connect."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.serving_process import free_port
from tests.waiting import until

REMEDY = "there is no HAProxy; install it (Debian: apt-get install haproxy)"
HEAD = """
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 30s
    timeout check 2s
    retries 3
    option redispatch 1
    retry-on conn-failure

frontend figures
    bind 127.0.0.1:{figures}
    stats enable
    stats uri /

listen replicas
    bind 127.0.0.1:{port}
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
    http-after-response set-header x-replica %s
    default-server check inter 500ms fastinter 200ms fall 2 rise 1
"""


class Balancer:
    """HAProxy on a free port, in front of servers on this machine; each answer's `x-replica` is its server's name."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._figures = free_port()
        self._servers = {f"r{place}": port for place, port in enumerate(ports)}
        self._config = folder / "haproxy.cfg"
        self._log = folder / "haproxy.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Balancer:
        """Start it; an error that names the remedy where there is no HAProxy."""
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise FileNotFoundError(REMEDY)
        lines = [f"    server {name} 127.0.0.1:{port}" for name, port in self._servers.items()]
        head = HEAD.format(port=self.port, figures=self._figures)
        self._config.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program, "-db", "-f", str(self._config)], stdout=log, stderr=log)
        until(self._answers)
        return self

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def up(self) -> set[str]:
        """The servers that it sends requests to."""
        answer = httpx.get(f"http://127.0.0.1:{self._figures}/;csv", timeout=10).text
        rows = csv.DictReader(io.StringIO(answer.removeprefix("# ")))
        return {row["svname"] for row in rows if row["svname"] in self._servers and row["status"].startswith("UP")}

    def until_up(self, number: int) -> None:
        """Wait until it sends requests to so many servers."""
        until(lambda: len(self.up()) == number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(encoding="utf-8")
        try:
            self.up()
        except httpx.TransportError:
            return False
        return True
