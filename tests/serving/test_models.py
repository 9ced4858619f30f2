"""One server answers for several use cases, and for new ones as soon as they have releases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from formats.release import Release
from formats.replica_report import ReplicaReport
from serving.app import create_app
from serving.errors import NotReadyError
from serving.models import LOOK_SECONDS, Models
from serving.settings import ServingSettings
from tests.portable_files import portable_bytes, write
from tests.releases import ReleasesFolder
from tests.waiting import until

ROW: dict[str, Any] = {"distance": 1, "hour": 2, "carrier": "B6"}


@pytest.fixture
def releases(tmp_path: Path) -> ReleasesFolder:
    return ReleasesFolder(tmp_path / "releases")


def settings(folder: Path, **more: Any) -> ServingSettings:
    given = {"releases": str(folder / "releases"), "state": folder / "state", "poll_seconds": 0.02}
    return ServingSettings(**given | more)


@contextmanager
def server(folder: Path, **more: Any) -> Iterator[TestClient]:
    with TestClient(create_app(settings(folder, **more))) as client:
        yield client


def deploy(releases: ReleasesFolder, folder: Path, use_case: str, version: str) -> None:
    bias = sum(use_case.encode()) % 100 / 100
    uri, sha256 = write(folder / "files", portable_bytes(use_case=use_case, bias=bias))
    releases.deploy(uri, sha256, version, use_case)


def ask(client: TestClient, use_case: str = "") -> Any:
    path = f"/v1/models/{quote(use_case, safe='')}/predict" if use_case else "/v1/predict"
    return client.post(path, json={"rows": [ROW]})


def test_each_use_case_is_answered_at_its_own_path(releases: ReleasesFolder, tmp_path: Path) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    deploy(releases, tmp_path, "flight_delay", "7")
    with server(tmp_path) as client:
        answers = {name: ask(client, name).json() for name in ("ice_cream", "flight_delay")}
        nobody, unnamed = ask(client, "icecream"), ask(client)
        document = client.get("/openapi.json").json()
        page = client.get("/metrics").text
        ready = client.get("/readyz").json()

    assert {name: answer["model_version"] for name, answer in answers.items()} == {
        "ice_cream": "3",
        "flight_delay": "7",
    }
    assert answers["ice_cream"]["probabilities"] != answers["flight_delay"]["probabilities"]
    # Who names none, or none that there is, is told those that there are
    assert (nobody.status_code, nobody.json()["detail"]) == (
        404,
        "there is no model of that name; this server has flight_delay, ice_cream",
    )
    assert (unnamed.status_code, unnamed.json()["detail"]) == (
        404,
        "this server answers for flight_delay, ice_cream; ask /v1/models/{use_case}/predict",
    )
    # And health, metrics and the document know of both
    assert {name: one["version"] for name, one in ready["models"].items()} == {"flight_delay": "7", "ice_cream": "3"}
    assert 'serving_model_share{role="in_service",use_case="flight_delay",version="7"} 1.0' in page
    assert 'serving_prediction_probability_count{use_case="ice_cream",version="3"} 1.0' in page
    assert {"/v1/predict", "/v1/models/{use_case}/predict"} <= set(document["paths"])
    assert "Row" not in document["components"]["schemas"]


def test_a_new_use_case_is_found_without_a_restart(releases: ReleasesFolder, tmp_path: Path) -> None:
    with server(tmp_path) as client:
        assert ask(client).json()["detail"] == "no model is served: nothing was deployed yet"

        deploy(releases, tmp_path, "ice_cream", "3")
        until(lambda: ask(client).status_code == 200)

        deploy(releases, tmp_path, "flight_delay", "7")
        until(lambda: ask(client, "flight_delay").status_code == 200)
        assert ask(client).status_code == 404


def test_only_the_use_cases_of_the_settings_are_answered(releases: ReleasesFolder, tmp_path: Path) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    deploy(releases, tmp_path, "flight_delay", "7")
    with server(tmp_path, use_cases="ice_cream") as client:
        assert ask(client).json()["model_version"] == "3"
        assert ask(client, "flight_delay").status_code == 404


def test_a_use_case_that_cannot_be_loaded_keeps_no_other_from_being_answered(
    releases: ReleasesFolder, tmp_path: Path
) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    releases.deploy((tmp_path / "gone.onnx").as_uri(), "0" * 64, "7", "flight_delay")
    with server(tmp_path) as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ask(client, "ice_cream").status_code) == (200, 200)
        assert ready.json()["models"]["flight_delay"]["version"] is None
        assert "there is no such file" in ready.json()["models"]["flight_delay"]["error"]
        refused = ask(client, "flight_delay")
    assert (refused.status_code, "version 7 cannot be loaded" in refused.json()["detail"]) == (503, True)


def test_what_has_no_entry_is_no_use_case(releases: ReleasesFolder, tmp_path: Path) -> None:
    # Given a folder that a replica with a misspelt setting left its report in
    releases.log("icecream").report(ReplicaReport(replica="a", at=1.0, every=2.0, entry=0))
    deploy(releases, tmp_path, "ice_cream", "3")

    with server(tmp_path) as client:
        assert ask(client).json()["model_version"] == "3"


@pytest.mark.parametrize("name", ["ice cream", "eis_für_alle", "50%", "a.b-c", "ice?cream#1"])
def test_a_use_case_of_any_name_is_answered(releases: ReleasesFolder, tmp_path: Path, name: str) -> None:
    deploy(releases, tmp_path, name, "3")
    with server(tmp_path) as client:
        assert ask(client, name).json()["model_version"] == "3"
        rests = ("", "/release", "/deployments")
        paths = [f"/v1/models/{quote(name, safe='')}{rest}" for rest in rests]
        assert [client.get(path).status_code for path in paths] == [200] * 3


def test_a_path_with_a_slash_in_it_is_no_name(releases: ReleasesFolder, tmp_path: Path) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    with server(tmp_path) as client:
        assert [ask(client, name).status_code for name in ("a/b", "../ice_cream", "ice_cream/../ice_cream")] == [
            404
        ] * 3


def test_a_start_with_the_releases_away_answers_for_what_was_kept(releases: ReleasesFolder, tmp_path: Path) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    with server(tmp_path) as client:
        assert ask(client).status_code == 200
    (tmp_path / "releases").rename(tmp_path / "away")
    (tmp_path / "releases").write_text("no folder")

    with server(tmp_path) as client:
        assert ask(client).json()["model_version"] == "3"
        assert client.get("/readyz").status_code == 200


# Platforms that stop a process between requests


def test_a_request_looks_at_the_releases_first_if_the_last_look_is_long_ago(
    releases: ReleasesFolder, tmp_path: Path
) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    with server(tmp_path, poll_seconds=3600, stale_seconds=0.001) as client:
        assert ask(client).json()["model_version"] == "3"
        deploy_quietly(releases, tmp_path, "4")

        ask(client)

        # It is being loaded since, and the next request finds it.
        until(lambda: ask(client).json()["model_version"] == "4")


def test_without_that_setting_a_request_does_not_look(releases: ReleasesFolder, tmp_path: Path) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    with server(tmp_path, poll_seconds=3600) as client:
        deploy_quietly(releases, tmp_path, "4")
        assert {ask(client).json()["model_version"] for _ in range(20)} == {"3"}
        assert client.get("/readyz").json()["models"]["ice_cream"]["entry"] == 2


def test_requests_share_a_look_and_a_store_that_hangs_holds_none_up_for_long(
    releases: ReleasesFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(releases, tmp_path, "ice_cream", "3")
    looks, over = [], threading.Event()

    def hangs() -> float:
        looks.append(1)
        over.wait()
        return 1.0

    with server(tmp_path, poll_seconds=3600, stale_seconds=0.001) as client:
        (follower,) = client.app.state.models.followers()  # type: ignore[attr-defined]
        monkeypatch.setattr(follower, "step", hangs)

        answers = [ask(client) for _ in range(20)]

        assert {answer.json()["model_version"] for answer in answers} == {"3"}
        assert len(looks) == 1
        assert sum(answer.elapsed.total_seconds() for answer in answers) < LOOK_SECONDS + 5
        over.set()


def deploy_quietly(releases: ReleasesFolder, folder: Path, version: str) -> None:
    """Release a version that nobody waits for."""
    uri, sha256 = write(folder / "files", portable_bytes(use_case="ice_cream", bias=0.9))
    writer = releases.writer("ice_cream")
    tail = writer.tail()
    assert tail.release.serving is not None
    new = tail.release.serving.model_copy(update={"uri": uri, "sha256": sha256, "version": version})
    release: Release = tail.release.served(new)
    writer.append(tail, release.event, version, release)


def test_models_of_a_server_that_has_not_looked_yet_say_so(tmp_path: Path) -> None:
    models = Models(settings(tmp_path))

    with pytest.raises(NotReadyError, match="no model is served: the releases have not been read yet"):
        models.only()
    with pytest.raises(NotReadyError, match="the releases have not been read yet"):
        models.of("ice_cream")
    assert not models.tried
