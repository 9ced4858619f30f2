"""Every step's pod in one place: image, environment, resources, and the rights it gives up.

What is the same for every task is made once: an object of the Kubernetes client takes half a millisecond to make, and a
DAG file is parsed often.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache

from kubernetes.client.models import (
    V1Capabilities,
    V1EmptyDirVolumeSource,
    V1EnvVar,
    V1EnvVarSource,
    V1PodSecurityContext,
    V1ResourceRequirements,
    V1SeccompProfile,
    V1SecretKeySelector,
    V1SecurityContext,
    V1Volume,
    V1VolumeMount,
)

from include.settings import PLAIN, SECRETS, OperatorSettings, RunVariables, Settings
from include.step_specs import Resources, StepSpec
from include.termination import one_line

USER = 10001  # the images' user
GRACE = 10  # seconds between being asked to stop and being stopped
SECRET = "nightshift"  # noqa: S105 (the name of a Kubernetes Secret)

_DEFAULTS = {name: str(field.default) for name, field in OperatorSettings.model_fields.items()}


def _variable(name: str, default: str = "") -> str:
    """An Airflow Variable of the deployment, read when the task runs."""
    return f"{{{{ var.value.get('{name.lower()}', '{default}') }}}}"


NAMESPACE = _variable(OperatorSettings.variable("namespace"), _DEFAULTS["namespace"])


def image(step: StepSpec) -> str:
    """The step's image: the Airflow Variable `nightshift_<name>_image`, or what `docker/<name>` builds."""
    setting = f"{step.image}_image"
    return _variable(OperatorSettings.variable(setting), _DEFAULTS[setting])


def environment(candidate: str | None) -> dict[str, str]:
    """A step's plain environment: its deployment's settings (an empty one counts as unset) and its run."""
    plain = {Settings.variable(name): _variable(Settings.variable(name)) for name in PLAIN}
    run = "{{ ti.dag_id }}/{{ run_id }}/{{ ti.task_id }}" + (f"-{candidate}" if candidate else "")
    return {**plain, RunVariables.variable("run"): run}


@cache
def secrets() -> tuple[V1EnvVar, ...]:
    """A step's secrets, by reference only."""
    return tuple(
        V1EnvVar(name, value_from=V1EnvVarSource(secret_key_ref=V1SecretKeySelector(key, SECRET, optional=True)))
        for name, key in SECRETS.items()
    )


def labels(step: StepSpec, use_case: str) -> dict[str, str]:
    """What `kubectl get pods -l` finds a step by; the provider adds dag, task, run and try."""
    return {
        "app.kubernetes.io/name": "nightshift",
        "app.kubernetes.io/component": step.name,
        "nightshift/use-case": use_case.rpartition(".")[2],
    }


@cache
def resources(wanted: Resources) -> V1ResourceRequirements:
    """A step's requests and limits."""
    return V1ResourceRequirements(
        requests={"cpu": wanted.cpu, "memory": wanted.memory},
        limits={"cpu": wanted.cpu_limit, "memory": wanted.memory_limit},
    )


@cache
def pod_security() -> V1PodSecurityContext:
    """Not root, and only the system calls that the runtime's own profile allows."""
    return V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=USER,
        fs_group=USER,
        seccomp_profile=V1SeccompProfile(type="RuntimeDefault"),
    )


@cache
def container_security() -> V1SecurityContext:
    """No capability, no way to gain one; only `/tmp` and the termination log are writable."""
    return V1SecurityContext(
        run_as_non_root=True,
        run_as_user=USER,
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=V1Capabilities(drop=["ALL"]),
        seccomp_profile=V1SeccompProfile(type="RuntimeDefault"),
    )


@cache
def volumes() -> tuple[V1Volume, ...]:
    """A scratch folder that ends with the pod."""
    return (V1Volume(name="tmp", empty_dir=V1EmptyDirVolumeSource()),)


@cache
def volume_mounts() -> tuple[V1VolumeMount, ...]:
    """The scratch folder at `/tmp`."""
    return (V1VolumeMount(name="tmp", mount_path="/tmp"),)  # noqa: S108


def api_message(body: str | bytes | None) -> str:
    """What the API server says in an error, as one line."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    return one_line(text) or "no reason given"
