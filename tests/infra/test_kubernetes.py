"""What the manifests ask of a cluster, held against what the project's code needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from include.settings import SECRETS
from plugins.pod_spec import SECRET, USER
from serving.settings import ServingSettings

FOLDER = Path(__file__).parents[2] / "infra" / "kubernetes"


def manifests(name: str) -> dict[str, dict[str, Any]]:
    """A file's documents, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all((FOLDER / name).read_text())}


def test_the_secret_names_every_key_that_steps_read() -> None:
    text = (FOLDER / "nightshift.yaml").read_text()
    assert not [key for key in SECRETS.values() if key not in text]


def test_serving_reads_its_settings_from_names_that_exist() -> None:
    (container,) = manifests("serving.yaml")["Deployment"]["spec"]["template"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    known = {f"SERVING_{field.upper()}" for field in ServingSettings.model_fields}
    assert {name for name in names if name.startswith("SERVING_")} <= known
    references = [variable["valueFrom"]["secretKeyRef"] for variable in container["env"] if "valueFrom" in variable]
    assert {reference["name"] for reference in references} == {SECRET}
    assert {reference["key"] for reference in references} <= set(SECRETS.values())


def test_serving_is_let_into_a_restricted_namespace() -> None:
    spec = manifests("serving.yaml")["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsUser"] == USER
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_callers_are_sent_to_one_of_several_servers_that_can_answer() -> None:
    (container,) = manifests("serving.yaml")["Deployment"]["spec"]["template"]["spec"]["containers"]
    probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness")}
    assert probes == {"readiness": "/readyz", "liveness": "/healthz"}
    documents = yaml.safe_load_all((FOLDER / "serving.yaml").read_text())
    services = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Service"}
    reached = {name: spec.get("publishNotReadyAddresses", False) for name, spec in services.items()}
    assert reached == {"serving": False}
    deployment = manifests("serving.yaml")["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]["rollingUpdate"]["maxUnavailable"]) == (3, 0)


def test_no_service_of_the_namespace_becomes_a_setting_of_serving() -> None:
    # A Service named `serving` makes Kubernetes set SERVING_PORT=tcp://… in every pod that does not refuse it.
    assert manifests("serving.yaml")["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False
