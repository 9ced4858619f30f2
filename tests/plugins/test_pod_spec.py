"""Every task's pod, as the cluster would receive it: valid, unprivileged, bounded, and without a secret in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration
from kubernetes.utils.quantity import parse_quantity

from include import step_specs
from include.settings import PREFIX, SECRETS, Settings
from include.step_specs import StepSpec
from plugins.pod_operator import StepPod
from plugins.pod_process import PodProcess
from tests.plugins.conftest import SECRETS as CLUSTER_SECRETS
from tests.plugins.conftest import Variables, context_of
from tests.plugins.kubernetes_stand_in import given

STEPS = [value for value in vars(step_specs).values() if isinstance(value, StepSpec)]
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


@pytest.fixture(scope="module", params=STEPS, ids=lambda step: step.name)
def step(request: pytest.FixtureRequest) -> StepSpec:
    return request.param


@pytest.fixture(scope="module")
def pod(step: StepSpec) -> dict[str, Any]:
    """The pod of a step as JSON, built as in a run; tests only read it."""
    context = context_of(Variables())
    task = StepPod(
        task_id=step.name, step=step, use_case="tests.use_cases.ice_cream", date="2013-10-01", candidate="a_candidate"
    )
    task.render_template_fields(context)
    return ApiClient().sanitize_for_serialization(task.build_pod_request_obj(context, dry_run=True))


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Its only container."""
    (only,) = pod["spec"]["containers"]
    return only


def test_it_is_a_pod_to_the_kubernetes_api_types(pod: dict[str, Any]) -> None:
    configuration = Configuration()
    configuration.client_side_validation = True
    read = ApiClient(configuration)._ApiClient__deserialize(pod, "V1Pod")
    again = ApiClient().sanitize_for_serialization(read)
    assert again == pod, "a field that the API does not know was lost on the way"


def test_no_service_of_the_namespace_becomes_a_setting_of_a_step(pod: dict[str, Any]) -> None:
    # A Service named `nightshift-…` would otherwise be NIGHTSHIFT_…_SERVICE_HOST, which steps refuse as unknown.
    assert pod["spec"]["enableServiceLinks"] is False


def test_names_and_labels_are_such_as_the_api_takes(pod: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", pod["metadata"]["name"])
    for key, value in pod["metadata"]["labels"].items():
        assert LABEL.fullmatch(value), (key, value)
        assert LABEL.fullmatch(key.rpartition("/")[2]), key


def test_it_has_no_right_it_does_not_need(pod: dict[str, Any], container: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec.get("hostNetwork")
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_tmp_is_all_it_can_write_to(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["spec"]["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_it_asks_for_resources_and_is_held_to_limits(container: dict[str, Any]) -> None:
    for name in ("cpu", "memory"):
        wanted, most = (parse_quantity(container["resources"][kind][name]) for kind in ("requests", "limits"))
        assert 0 < wanted <= most


def test_it_ends_in_time_and_is_never_restarted(pod: dict[str, Any], step: StepSpec) -> None:
    assert pod["spec"]["activeDeadlineSeconds"] == step.deadline.total_seconds() > 0
    assert pod["spec"]["restartPolicy"] == "Never"


def test_its_image_has_a_tag_that_stands_still(container: dict[str, Any], step: StepSpec) -> None:
    name, _, tag = container["image"].rpartition(":")
    assert name == f"nightshift/{step.image}"
    assert tag not in ("", "latest")


def test_no_secret_is_in_the_pod(pod: dict[str, Any], container: dict[str, Any]) -> None:
    by_name = {variable["name"]: variable for variable in container["env"]}
    for name, key in SECRETS.items():
        assert by_name[name]["valueFrom"] == {"secretKeyRef": {"name": "nightshift", "key": key, "optional": True}}
    assert not [value for keys in CLUSTER_SECRETS.values() for value in keys.values() if value in json.dumps(pod)]
    plain = [variable["name"] for variable in container["env"] if "valueFrom" not in variable]
    assert not [name for name in plain if re.search("PASSWORD|SECRET|TOKEN|DATABASE|ACCESS_KEY", name)]


def test_a_process_is_given_what_a_kubelet_would_give_to_the_submitted_pod(pod: dict[str, Any], secrets: Path) -> None:
    read = ApiClient()._ApiClient__deserialize(pod, "V1Pod")
    process = PodProcess(read, print)
    assert {"argv": process.argv(), "environment": process.environment()} == given(pod, CLUSTER_SECRETS)


def test_its_candidate_is_part_of_its_runs_name(container: dict[str, Any]) -> None:
    run = next(variable["value"] for variable in container["env"] if variable["name"] == "NIGHTSHIFT_RUN")
    assert run == "ice_cream_nightly_training/scheduled__2013-10-01T05:15:00+00:00/extract-a_candidate"


def test_every_setting_of_a_deployment_is_an_airflow_variable(context: dict[str, Any]) -> None:
    context["var"]["value"].values |= {
        "nightshift_step_image": "registry.example/step:1",
        "nightshift_namespace": "training",
        "nightshift_spark_master": "spark://spark:7077",
    }
    task = StepPod(task_id="extract", step=step_specs.EXTRACT, use_case="tests.use_cases.ice_cream", date="2013-10-01")
    task.render_template_fields(context)
    pod = task.build_pod_request_obj(context, dry_run=True)
    environment = {variable.name: variable.value for variable in pod.spec.containers[0].env}
    assert pod.spec.containers[0].image == "registry.example/step:1"
    assert pod.metadata.namespace == "training"
    assert environment["NIGHTSHIFT_SPARK_MASTER"] == "spark://spark:7077"


def test_a_pod_is_told_every_setting_of_its_deployment(container: dict[str, Any]) -> None:
    given = {variable["name"] for variable in container["env"]}
    assert given == {*Settings.variables(), *SECRETS, "NIGHTSHIFT_RUN"}


def test_each_secret_of_the_settings_is_a_key_of_the_cluster_secret() -> None:
    keys = {name: key for name, key in SECRETS.items() if name.startswith(PREFIX)}
    assert keys == {
        "NIGHTSHIFT_DATABASE_URL": "database-url",
        "NIGHTSHIFT_TRACKING_URL": "tracking-url",
        "NIGHTSHIFT_SERVING_TOKEN": "serving-token",
        "NIGHTSHIFT_KAFKA_PASSWORD": "kafka-password",
    }
