"""Dashboard, alerts and scrape configuration speak of metrics and labels that serving really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from formats.answers.binary import BinaryKind
from serving.telemetry.logs import Log
from serving.telemetry.metrics import (
    CacheLookup,
    ModelState,
    ReleaseState,
    Shed,
    Telemetry,
    UpstreamOutcome,
    VersionRole,
)
from serving.telemetry.sampling import Sampler
from stores.folder import FileStore

MONITORING = Path(__file__).parents[2] / "infra" / "monitoring"
PROMETHEUS_OWN = {"up": {"job", "instance"}}
SELECTOR = re.compile(r"(?<![\w\"/])([a-z_]+)\{([^}]*)\}|(?<![\w\"/])((?:serving_\w+))(?!\w|\{)")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")


@cache
def served() -> dict[str, set[str]]:
    """Every name on /metrics, and the labels it has there (Prometheus itself adds job and instance)."""
    sampler = Sampler(FileStore(Path("unused")), share=1.0, rows_per_second=1.0)
    telemetry = Telemetry(sampler=sampler, log=Log(descriptor=2))
    telemetry.request("/v1/predict", "POST", 200, 0.001)
    telemetry.predicted("7", b"", np.array([0.5]), kind=BinaryKind())
    telemetry.shed(Shed.QUEUE_FULL)
    telemetry.cache("forecast", CacheLookup.HIT, entries=1)
    telemetry.loading("forecast", 1)
    telemetry.loaded("forecast", UpstreamOutcome.OK)
    telemetry.hedged("sensor")
    telemetry.upstream("sensor", UpstreamOutcome.OK, 0.1)
    telemetry.upstream_open("sensor", False)
    telemetry.watch_models(
        lambda: [ModelState("7", "flight_delay", "ab", VersionRole.IN_SERVICE, 1.0)],
        lambda: [ReleaseState("flight_delay", 3, 0.5, False)],
    )
    found = {name: set(labels) for name, labels in PROMETHEUS_OWN.items()}
    for family in text_string_to_metric_families(telemetry.page()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {"job", "instance"}).update(sample.labels)
    return found


def dashboard() -> Any:
    return json.loads((MONITORING / "grafana-dashboard.json").read_text())


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and the expression."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"label_values\((\w+), (\w+)\)", r"\1 by (\2)", variable["query"])
    for rule in rules():
        yield rule["alert"], rule["expr"]


def selected(expression: str) -> dict[str, set[str]]:
    """The metrics that an expression selects, and the labels it matches them by."""
    found: dict[str, set[str]] = {}
    for name, matchers, bare in SELECTOR.findall(expression):
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers))
        found.setdefault(name or bare, set()).update(labels)
    return found


def grouped(expression: str) -> set[str]:
    """The labels that an expression groups by."""
    return {label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",") if label.strip()}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_asks_only_for_what_serving_has(where: str, expression: str) -> None:
    metrics = selected(expression)

    assert metrics, f"{where} asks for nothing"
    for name, labels in metrics.items():
        assert name in served(), f"{where}: {name} is not on /metrics"
        assert labels <= served()[name], f"{where}: {name} has no label {labels - served()[name]}"
    known = set.union(*(served()[name] for name in metrics))
    assert grouped(expression) <= known, f"{where}: nothing there has {grouped(expression) - known}"


def test_every_metric_of_serving_is_on_the_dashboard() -> None:
    shown = {name for panel in dashboard()["panels"] for t in panel["targets"] for name in selected(t["expr"])}
    families = {
        re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in served() if name not in PROMETHEUS_OWN
    }

    assert families == {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in shown}


def test_every_metric_of_serving_is_in_its_documentation() -> None:
    text = (MONITORING.parents[1] / "docs" / "serving" / "telemetry.md").read_text()
    names = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in served() if name not in PROMETHEUS_OWN}

    assert names == set(re.findall(r"`(serving_\w+)`", text))


def test_a_legend_names_only_labels_that_its_expression_leaves() -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped(target["expr"]), panel["title"]


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "warn")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["remedy"].endswith(".")


def test_prometheus_scrapes_the_path_that_serving_answers() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())

    (job,) = config["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("nightshift-serving", "/metrics")
    assert all((MONITORING / name).is_file() for name in config["rule_files"])


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
