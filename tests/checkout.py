"""A checkout of this project in a folder of its own, used as a person uses it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from include.settings import Settings
from include.storage.lake import Dataset, Lake, Layer

ROOT = Path(__file__).resolve().parents[1]
SERVERS = ("POSTGRES", "SERVING", "AIRFLOW", "MLFLOW")
PUBLISHED = ("raw", "features", "candidates", "decisions", "predictions", "lookups", "models", "quality", "quarantine")


@dataclass(frozen=True)
class Checkout:
    """The files of this working tree, copied; ports and state are its own."""

    root: Path
    environment: Mapping[str, str]
    use_case: str

    @classmethod
    def make(cls, root: Path, package: str) -> Checkout:
        """Copy what git would hand out, and let it use this environment's packages."""
        for name in _tracked():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
        (root / ".venv").symlink_to(Path(sys.prefix))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT_", "AIRFLOW"))}
        ports = {f"NIGHTSHIFT_{name}_PORT": str(port) for name, port in zip(SERVERS, _free_ports(), strict=True)}
        own = {"NIGHTSHIFT_USE_CASES": package, "PYTHONPATH": str(root)}
        return cls(root, kept | ports | own, package.rpartition(".")[2])

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What `make <words>` runs, its output kept."""
        with self.started(*words) as run:
            said, _ = run.communicate(timeout=900)
        return subprocess.CompletedProcess(run.args, run.returncode, said)

    def started(self, *words: str) -> subprocess.Popen[str]:
        """The same, under way."""
        return subprocess.Popen(
            [sys.executable, "-m", "local", *words],
            cwd=self.root,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def night(self, date: str) -> str:
        """Run the night of a data day, which must go well, and hand back what it printed."""
        done = self.command("run", "--date", date)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    @property
    def lake(self) -> Lake:
        """The lake it fills."""
        return Lake.open(Settings(lake=str(self.root / ".nightshift" / "lake")), self.use_case)

    def table(self, layer: Layer, name: str, day: str) -> pa.Table:
        """One published partition."""
        from datetime import date

        return self.lake.read(Dataset(layer, name).on(date.fromisoformat(day)))

    def published(self) -> dict[str, str]:
        """Every published file and the hash of its bytes."""
        top = self.root / ".nightshift" / "lake" / self.use_case
        return {
            path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for layer in PUBLISHED
            for path in sorted((top / layer).rglob("*"))
            if path.is_file()
        }


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _free_ports() -> list[int]:
    with ExitStack() as open_sockets:
        probes = [open_sockets.enter_context(socket.socket()) for _ in SERVERS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
