"""Registers versions as nights do, and runs the steps that release them, each as a process that can be killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from datetime import date
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from include.model_registry.versions import Alias, Draft, Registry, Role, Version
from include.modelling.recipe import Estimator, Recipe
from include.settings import Settings
from include.storage.lake import Lake
from tests.portable_files import portable_bytes
from tests.replicas.places import Place
from tests.serving_process import ROOT

USE_CASE = "flight_delay"
DAY = date(2013, 10, 1)
DISTORTED = 3.0
"""A bias that moves the mean answer by more than the plan's limit."""


class Step:
    """A step of the night that runs as a process."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        argv = [sys.executable, "-m", f"include.steps.{name}"]
        argv += ["--use-case", f"include.use_cases.{USE_CASE}", "--date", DAY.isoformat()]
        self.name = name
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=file, stderr=file)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def ended(self, seconds: float = 240.0) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(seconds)

    def ends_well(self) -> None:
        """Wait for its end, which must be a good one."""
        code = self.ended()
        assert code == 0, f"{self.name} ended with {code}: {self._log.read_text(encoding='utf-8')[-3000:]}"

    def kill(self) -> None:
        """End it as a lost machine would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """What it and those before it printed."""
        return self._log.read_text(encoding="utf-8")


class Nights:
    """One deployment's registry and lake, and its steps."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder = folder
        self._place = place
        self._registered = 0
        self._steps: list[Step] = []
        self._tracking = f"sqlite:///{folder}/mlflow.db"
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "NIGHTSHIFT_ARTIFACTS": str(folder / "artifacts"),
            "NIGHTSHIFT_TRACKING_URL": self._tracking,
            **place.steps(),
        }

    @cached_property
    def registry(self) -> Registry:
        return Registry.open(Settings(tracking_url=SecretStr(self._tracking)), USE_CASE)

    @cached_property
    def lake(self) -> Lake:
        settings = Settings(lake=self._place.lake, s3_endpoint=self._place.steps().get("NIGHTSHIFT_S3_ENDPOINT"))
        return Lake.open(settings, USE_CASE)

    def champion(self, bias: float | None = None) -> str:
        """Register a version that becomes the champion; its answers are all but those of the others."""
        self._registered += 1
        content = portable_bytes(bias=self._registered / 1000 if bias is None else bias)
        version = self._register(content)
        self.registry.advance(Alias.CHAMPION, version)
        return version.version

    def deploy(self, watch: float = 3.0, share: float = 0.3) -> Step:
        """Begin to deploy the champion, or try it again: a canary of so many seconds, and a share of the requests."""
        plan = {"NIGHTSHIFT_ROLLOUT_WATCH_SECONDS": str(watch), "NIGHTSHIFT_ROLLOUT_SHARE": str(share)}
        return self._begin("deploy", {"NIGHTSHIFT_RUN": f"night {self._registered}", **plan})

    def rollback(self) -> Step:
        """Begin to put the version before back, as a person."""
        return self._begin("rollback", {})

    def released(self, bias: float | None = None) -> str:
        """A new version that has been deployed."""
        version = self.champion(bias)
        self.deploy().ends_well()
        return version

    def stop(self) -> None:
        """End the steps that run still."""
        for step in self._steps:
            if step.runs:
                step.kill()
        self._steps.clear()

    def _begin(self, name: str, variables: dict[str, str]) -> Step:
        step = Step(name, self._environment | variables, self._folder / "steps.log")
        self._steps.append(step)
        return step

    def _register(self, content: bytes) -> Version:
        sha256 = hashlib.sha256(content).hexdigest()
        return self.registry.register(
            Draft(
                run_key=f"{DAY}/{sha256}/{self._registered}",
                day=DAY,
                trained_through=DAY,
                candidate="tiny",
                recipe=Recipe("tiny", Estimator.LOGISTIC_REGRESSION, ("distance", "hour", "carrier")),
                role=Role.NIGHTLY,
                approved=True,
                model_uri=self.lake.put(f"models/{sha256}.onnx", content),
                sha256=sha256,
                mlflow_run=self._mlflow_run(),
            )
        )

    def _mlflow_run(self) -> str:
        client = self.registry.client
        experiment = client.get_experiment_by_name("tests")
        number = (
            experiment.experiment_id
            if experiment
            else client.create_experiment("tests", str(self._folder / "artifacts"))
        )
        return str(client.create_run(number).info.run_id)
