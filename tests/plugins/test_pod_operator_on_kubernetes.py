"""What the operator makes of a cluster's many ways to disappoint (against a stand-in for its API server)."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from include.step_specs import STARTUP
from plugins.pod_operator import StepPod
from tests.plugins.conftest import Mode
from tests.plugins.kubernetes_stand_in import Script
from tests.plugins.test_pod_operator import probe
from tests.waiting import PATIENCE


def run(mode: Mode, script: Script, pod: StepPod | None = None) -> Any:
    """Run a pod for which the cluster has a script of its own."""
    pod = pod or probe()
    pod.render_template_fields(mode.context)
    mode.cluster.script = script
    return pod.execute(mode.context)


@pytest.mark.parametrize("exit_code", [0, 65, 75, 99])
def test_a_pod_is_deleted_when_it_is_over(kubernetes_mode: Mode, exit_code: int) -> None:
    if exit_code:
        with pytest.raises(AirflowException):
            run(kubernetes_mode, Script(exit_code=exit_code, message="no such day"))
    else:
        run(kubernetes_mode, Script())
    assert kubernetes_mode.cluster.deleted == [kubernetes_mode.cluster.submitted[0]["metadata"]["name"]]
    assert not kubernetes_mode.cluster.pods


def test_no_right_but_that_on_pods_and_their_logs_is_used(kubernetes_mode: Mode) -> None:
    # infra/kubernetes/nightshift.yaml gives no other; an XCom sidecar would need pods/exec.
    run(kubernetes_mode, Script(lines=("line",), seconds=0.2))
    paths = {request.partition("/pods")[2].count("/") for request in kubernetes_mode.cluster.requests}
    assert paths <= {0, 1, 2}
    assert not [request for request in kubernetes_mode.cluster.requests if "exec" in request]
    assert len(kubernetes_mode.cluster.submitted[0]["spec"]["containers"]) == 1


def test_running_out_of_memory_is_said_as_such_and_retried(kubernetes_mode: Mode) -> None:
    with pytest.raises(AirflowException, match=r"out of memory .*give the step a higher memory limit") as caught:
        run(kubernetes_mode, Script(exit_code=137, message="", container_reason="OOMKilled"))
    assert type(caught.value) is AirflowException


def test_a_pod_past_its_deadline_is_said_as_such_and_retried(kubernetes_mode: Mode) -> None:
    script = Script(exit_code=143, message="", pod_reason="DeadlineExceeded", pod_message="Pod was active too long")
    with pytest.raises(AirflowException, match=r"^DeadlineExceeded: Pod was active too long$") as caught:
        run(kubernetes_mode, script)
    assert type(caught.value) is AirflowException


def test_an_image_that_is_not_there_fails_at_once_with_its_name(kubernetes_mode: Mode) -> None:
    started = time.monotonic()
    with pytest.raises(AirflowException, match=r"Image cannot be pulled.*nightshift/step:0\.1\.0 not found"):
        run(kubernetes_mode, Script(waiting=("ErrImagePull", "nightshift/step:0.1.0 not found")))
    assert time.monotonic() - started < STARTUP.total_seconds() / 2
    assert not kubernetes_mode.cluster.pods, "the pod that cannot start is deleted"


def test_a_request_that_the_cluster_refuses_is_not_repeated(kubernetes_mode: Mode) -> None:
    kubernetes_mode.cluster.refusal = (403, "pods is forbidden: User tester cannot create pods in nightshift")
    with pytest.raises(AirflowFailException, match="Kubernetes answered 403 Forbidden: pods is forbidden: User tester"):
        run(kubernetes_mode, Script())


def test_no_cluster_at_all_says_what_to_do(
    kubernetes_mode: Mode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes"}))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(AirflowFailException, match=r"connection kubernetes_default, or set .*nightshift_pod_runtime"):
        run(kubernetes_mode, Script())


def test_a_retry_attaches_to_the_pod_that_outlived_its_worker(kubernetes_mode: Mode) -> None:
    # Given a worker that vanished while its pod ran
    first, cluster = probe(), kubernetes_mode.cluster
    first.render_template_fields(kubernetes_mode.context)
    cluster.script = Script(seconds=1, message='{"rows":{"raw/flights":3}}')
    first.get_or_create_pod(first.build_pod_request_obj(kubernetes_mode.context), kubernetes_mode.context)
    # When the task is tried again
    kubernetes_mode.context["ti"].try_number = 2
    second = probe()
    second.render_template_fields(kubernetes_mode.context)
    result = second.execute(kubernetes_mode.context)
    # Then no other pod is made
    assert len(cluster.submitted) == 1
    assert result == {"rows": {"raw/flights": 3}}


def test_a_task_that_loses_its_supervisor_leaves_its_pod_to_the_retry(
    kubernetes_mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task whose supervisor is killed: its next word breaks it while the pod runs
    def lose(*_: object, **__: object) -> None:
        monkeypatch.setattr("os.getppid", lambda: 1)
        raise BrokenPipeError(32, "Broken pipe")

    first, second = probe(), probe()
    monkeypatch.setattr(first, "await_pod_completion", lose)
    with pytest.raises(BrokenPipeError):
        run(kubernetes_mode, Script(seconds=1, message='{"rows":{"raw/flights":3}}'), first)
    # When the task is tried again
    kubernetes_mode.context["ti"].try_number = 2
    second.render_template_fields(kubernetes_mode.context)
    result = second.execute(kubernetes_mode.context)
    # Then no other pod is made
    assert len(kubernetes_mode.cluster.submitted) == 1
    assert result == {"rows": {"raw/flights": 3}}


def test_cancelling_a_task_deletes_its_pod(kubernetes_mode: Mode) -> None:
    pod, raised = probe(), []

    def follow() -> None:
        try:
            run(kubernetes_mode, Script(seconds=60), pod)
        except AirflowException as error:
            raised.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    while "log" not in "".join(kubernetes_mode.cluster.requests):
        time.sleep(0.02)
    pod.on_kill()
    thread.join(PATIENCE)
    assert not kubernetes_mode.cluster.pods
    assert "cancelled" in str(raised[0])


def test_an_execution_timeout_deletes_the_pod_and_stays_a_timeout(
    kubernetes_mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(*_: object, **__: object) -> None:
        raise AirflowTaskTimeout("Timeout, PID: 1")

    pod = probe()
    monkeypatch.setattr(pod, "await_pod_completion", time_out)
    with pytest.raises(AirflowTaskTimeout):
        run(kubernetes_mode, Script(seconds=60), pod)
    assert not kubernetes_mode.cluster.pods
