"""What tests of the operator share: a task's context, a runner for each mode, the stand-in for a cluster."""

from __future__ import annotations

import tests.airflow_home  # noqa: F401 (before anything of Airflow)

# isort: split
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.step_specs import PodRuntime
from plugins.pod_operator import StepPod
from tests.plugins.kubernetes_stand_in import Cluster, Script, given

SECRETS = {"nightshift": {"serving-token": "token-of-the-tests"}}


@dataclass
class Variables:
    """Airflow Variables, as templates read them."""

    values: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)


@dataclass
class TaskInstance:
    """As much of a task instance as the operator touches."""

    dag_id: str = "ice_cream_nightly_training"
    task_id: str = "extract"
    map_index: int = -1
    try_number: int = 1
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class StateStore(dict[str, Any]):
    """Airflow's task state store, in memory."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture
def variables() -> Variables:
    return Variables()


def context_of(variables: Variables) -> dict[str, Any]:
    """What Airflow hands to a task."""
    return {
        "ti": TaskInstance(),
        "run_id": "scheduled__2013-10-01T05:15:00+00:00",
        "dag": SimpleNamespace(dag_id="ice_cream_nightly_training", params={"date": None, "force": False}),
        "dag_run": SimpleNamespace(conf={}),
        "params": {},
        "var": {"value": variables},
        "outlet_events": {},
        "task_state_store": StateStore(),
    }


@pytest.fixture
def context(variables: Variables) -> dict[str, Any]:
    return context_of(variables)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of secrets of process mode, holding the same as the cluster's."""
    folder = tmp_path / "secrets"
    for name, keys in SECRETS.items():
        (folder / name).mkdir(parents=True)
        for key, value in keys.items():
            (folder / name / key).write_text(f"{value}\n")
    monkeypatch.setenv("NIGHTSHIFT_SECRETS_DIR", str(folder))
    return folder


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A stand-in for a cluster, with the kubeconfig that leads to it."""
    stand_in = Cluster()
    config = stand_in.kubeconfig(tmp_path / "kubeconfig")
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(config)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    yield stand_in
    stand_in.close()


@dataclass
class Mode:
    """One runtime, ready to run step pods."""

    runtime: PodRuntime
    context: dict[str, Any]
    cluster: Cluster

    def run(self, pod: StepPod) -> dict[str, Any]:
        """Render and execute, as Airflow's task runner does."""
        pod.render_template_fields(self.context)
        if self.runtime is PodRuntime.KUBERNETES:
            self.cluster.script = script_of(pod)
        return pod.execute(self.context)


def script_of(pod: StepPod) -> Script:
    """What the probe would do with these arguments, written down for the cluster that runs nothing."""
    options = dict(word.removeprefix("--").partition("=")[::2] for word in pod.arguments if word.startswith("--"))
    return Script(
        lines=tuple(f"line {number}" for number in range(int(options.get("lines", 0)))),
        seconds=float(options.get("sleep", 0)),
        exit_code=int(options.get("exit", 0)),
        message=options.get("message") or told,
    )


def told(body: dict[str, Any]) -> str:
    """The probe's result, for the pod that was submitted."""
    container = given(body, SECRETS)
    argv = container["argv"][3:]
    asked: list[str] = next((word.partition("=")[2].split(",") for word in argv if word.startswith("--tell=")), [])
    environment = {name: container["environment"].get(name) for name in asked}
    return json.dumps({"facts": {"argv": argv, "environment": environment}})


@pytest.fixture(params=list(PodRuntime), ids=str)
def mode(
    request: pytest.FixtureRequest,
    context: dict[str, Any],
    secrets: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> Mode:
    """Each runtime in turn, chosen as a deployment chooses it."""
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTSHIFT_POD_RUNTIME", request.param.value)
    return Mode(request.param, context, cluster)


@pytest.fixture
def process_mode(context: dict[str, Any], secrets: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Mode:
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTSHIFT_POD_RUNTIME", "process")
    return Mode(PodRuntime.PROCESS, context, cluster)


@pytest.fixture
def kubernetes_mode(context: dict[str, Any], cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Mode:
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTSHIFT_POD_RUNTIME", "kubernetes")
    return Mode(PodRuntime.KUBERNETES, context, cluster)
