"""What this project overrides in the pod operator of Airflow's Kubernetes provider."""

from __future__ import annotations

import tests.airflow_home  # noqa: F401 (before anything of Airflow)

# isort: split
import inspect

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager

from local.night import STEP_LOGGERS
from plugins.pod_operator import StepPod


def test_kubernetes_provider_still_builds_its_pod_in_this_method() -> None:
    theirs = inspect.signature(KubernetesPodOperator.build_pod_request_obj)
    assert list(theirs.parameters) == list(inspect.signature(StepPod.build_pod_request_obj).parameters)
    assert "self.build_pod_request_obj(" in inspect.getsource(KubernetesPodOperator.execute_sync)


def test_kubernetes_provider_still_deletes_its_pod_in_this_method() -> None:
    theirs = inspect.signature(KubernetesPodOperator.cleanup)
    assert list(theirs.parameters) == list(inspect.signature(StepPod.cleanup).parameters)
    assert "self.cleanup(" in inspect.getsource(KubernetesPodOperator.post_complete_action)
    assert "self.remote_pod" in inspect.getsource(KubernetesPodOperator.execute_sync)


def test_kubernetes_provider_still_adds_these_variables_to_the_pod() -> None:
    assert "pod_runtime_info_envs" in inspect.signature(KubernetesPodOperator.__init__).parameters
    built = inspect.getsource(KubernetesPodOperator.build_pod_request_obj)
    assert "self.env_vars.extend(self.pod_runtime_info_envs)" in built


def test_kubernetes_provider_still_logs_under_these_names() -> None:
    assert PodManager.__name__ in STEP_LOGGERS
    assert StepPod.__name__ in STEP_LOGGERS
