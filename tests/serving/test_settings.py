"""A server's settings: a name that it does not know stops it, what a platform sets by itself does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from formats.variables import VariableError
from serving.settings import ServingSettings
from tests.serving_process import ROOT, ServingProcess
from tests.waiting import PATIENCE

# What Kubernetes sets in every pod of a namespace with the Services of infra/kubernetes/serving.yaml
SERVICE_LINKS = {
    "SERVING_SERVICE_HOST": "10.0.0.7",
    "SERVING_SERVICE_PORT": "8890",
    "SERVING_SERVICE_PORT_HTTP": "8890",
    "SERVING_PORT": "tcp://10.0.0.7:8890",
    "SERVING_PORT_8890_TCP": "tcp://10.0.0.7:8890",
    "SERVING_PORT_8890_TCP_PROTO": "tcp",
    "SERVING_PORT_8890_TCP_PORT": "8890",
    "SERVING_PORT_8890_TCP_ADDR": "10.0.0.7",
}

PLACE = {"SERVING_RELEASES": "releases"}


@pytest.mark.stack
@pytest.mark.parametrize("name", ["SERVING_WORKER", "serving_workers"])
def test_an_unknown_setting_ends_the_server_with_the_likely_one(name: str) -> None:
    # Given a misspelt setting, whose value may be anything
    environment = {"PATH": os.environ["PATH"], "SERVING_PORT": "0", name: "hush"} | PLACE
    # When the server starts
    command = [sys.executable, "-m", "serving"]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    # Then it ends with one line that names what was probably meant, without the value
    assert ended.returncode == 78
    assert f"{name} is not a setting; did you mean SERVING_WORKERS?" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "hush" not in ended.stderr


def test_a_name_like_no_other_is_sent_to_the_page_that_lists_all() -> None:
    with pytest.raises(
        VariableError, match=r"SERVING_QQQQQQQQQQQQQQQQQQQQ is .* docs/reference/settings\.md lists them"
    ):
        ServingSettings.load({"SERVING_QQQQQQQQQQQQQQQQQQQQ": ""} | PLACE)


@pytest.mark.stack
def test_the_services_of_a_cluster_do_not_stop_the_server(tmp_path: Path) -> None:
    # Given a pod with links to the namespace's Services, and a port of the server's own
    links = {name: value for name, value in SERVICE_LINKS.items() if name != "SERVING_PORT"}
    server = ServingProcess(tmp_path / "state", **links)
    # When it starts, then it answers there
    try:
        assert server.start().get("/healthz").status_code == 200
    finally:
        server.stop()


def test_an_address_in_place_of_the_port_counts_as_unset() -> None:
    assert ServingSettings.load(SERVICE_LINKS | PLACE).port == ServingSettings.load(PLACE).port


def test_words_in_one_variable_are_separated_by_commas() -> None:
    assert ServingSettings.load({"SERVING_JWT_ALGORITHMS": "RS256, PS256"} | PLACE).jwt_algorithms == ("RS256", "PS256")


def test_a_flag_wins_over_its_variable() -> None:
    assert ServingSettings.load({"SERVING_WORKERS": "2"} | PLACE, workers=3).workers == 3


def test_use_cases_and_routes_are_several() -> None:
    settings = ServingSettings.load(
        {"SERVING_USE_CASES": "ice_cream, flight_delay", "SERVING_ROUTES": "formats,stores"} | PLACE
    )

    assert (settings.use_cases, settings.routes) == (("ice_cream", "flight_delay"), ("formats", "stores"))


def test_the_releases_lie_in_the_lake_unless_they_are_elsewhere() -> None:
    assert ServingSettings(lake="s3://lake/").releases_folder == "s3://lake/_serving"
    assert ServingSettings(lake="s3://lake", releases="gs://other/place").releases_folder == "gs://other/place"


def test_a_server_with_nothing_to_follow_is_told_what_to_set() -> None:
    with pytest.raises(VariableError, match="nothing to follow: set SERVING_RELEASES, or SERVING_LAKE"):
        ServingSettings.load({})
    with pytest.raises(VariableError, match=r"SERVING_RELEASES: .*no store for ftp"):
        ServingSettings.load({"SERVING_RELEASES": "ftp://somewhere"})


@pytest.mark.parametrize("gone", ["SERVING_TOKEN", "SERVING_USE_CASE"])
def test_settings_of_before_are_refused(gone: str) -> None:
    with pytest.raises(VariableError, match=f"{gone} is not a setting"):
        ServingSettings.load({gone: "x"} | PLACE)
