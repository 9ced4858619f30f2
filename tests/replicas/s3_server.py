"""A real S3 server whose data outlives it: versitygw on a folder, which may be killed and started again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import boto3
import httpx

from tests.serving_process import ROOT, free_port
from tests.waiting import until

PROGRAM = ROOT / ".nightshift" / "replicas" / "versitygw"
"""Where `make test-replicas` puts it."""
REMEDY = f"there is no {PROGRAM.relative_to(ROOT)}; `make test-replicas` builds it (needs Go)"
BUCKET = "lake"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "name",
    "AWS_SECRET_ACCESS_KEY": "a word of its own",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3Server:
    """versitygw on a free port, with one bucket."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> S3Server:
        """Start it and wait until it answers; an error that names the remedy where it was not built."""
        if not PROGRAM.exists():
            raise FileNotFoundError(REMEDY)
        data = self._folder / "s3"
        data.mkdir(exist_ok=True)
        argv = [str(PROGRAM), "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", str(data)]
        names = {"ROOT_ACCESS_KEY": "AWS_ACCESS_KEY_ID", "ROOT_SECRET_KEY": "AWS_SECRET_ACCESS_KEY"}
        environment = {mine: CREDENTIALS[name] for mine, name in names.items()}
        with (self._folder / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        until(self._answers)
        return self

    def make_bucket(self) -> None:
        """Make the bucket of the lake."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def runs(self) -> bool:
        """Whether it has been started, and not been killed since."""
        return self._process is not None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "s3.log").read_text(encoding="utf-8")
        try:
            httpx.get(self.url, timeout=1)
        except httpx.TransportError:
            return False
        return True
