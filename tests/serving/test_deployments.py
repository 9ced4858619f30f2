"""What is served, and what was served when, as anybody may ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.deployments import MOST
from serving.settings import ServingSettings
from tests.portable_files import portable_bytes, write
from tests.releases import ReleasesFolder
from tests.waiting import until

PATH = "/v1/models/flight_delay"


class Site:
    """A server in this process, and the releases that it follows."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client = client
        self.releases = ReleasesFolder(folder / "releases")
        self._folder = folder

    def deploy(self, version: str) -> None:
        self.releases.deploy(*write(self._folder, portable_bytes(bias=int(version) / 50)), version)
        until(lambda: self.client.get(PATH).json().get("version") == version)

    def events(self, query: str = "") -> list[tuple[str, str]]:
        found = self.client.get(f"{PATH}/deployments{query}").raise_for_status().json()["deployments"]
        return [(one["event"], one["version"]) for one in found]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = ServingSettings(releases=str(tmp_path / "releases"), state=tmp_path / "state", poll_seconds=0.02)
    with TestClient(create_app(settings)) as client:
        yield Site(client, tmp_path)


def test_before_anything_is_released_nothing_is_listed(site: Site) -> None:
    assert site.client.get("/v1/models").json() == {"models": []}
    assert site.client.get("/v1/model").status_code == 503
    assert site.client.get(PATH).status_code == 503


def test_what_serves_is_told_by_each_route_alike(site: Site) -> None:
    site.deploy("7")

    one = site.client.get(PATH).json()

    assert (one["version"], one["by"], one["event"], one["uri"]) == ("7", "a test", "deployed", "")
    assert site.client.get("/v1/model").json() == one
    assert site.client.get("/v1/models").json() == {"models": [one]}
    assert site.client.get(f"{PATH}/release").json()["serving"] == one


def test_the_history_is_the_log_newest_first(site: Site) -> None:
    for version in ("7", "8"):
        site.deploy(version)
    site.releases.roll_back()
    until(lambda: site.client.get(PATH).json()["version"] == "7")

    assert site.events() == site.releases.events()
    assert site.events()[0] == ("rolled_back", "7")
    newest = site.client.get(f"{PATH}/release").json()
    assert [one["entry"]["version"] for one in newest["taken_out"]] == ["8"]
    assert newest["by"] == "a person"


def test_the_history_can_be_asked_for_its_newest_events(site: Site) -> None:
    site.deploy("7")

    assert site.events("?limit=1") == [("deployed", "7")]
    assert [site.client.get(f"{PATH}/deployments?limit={limit}").status_code for limit in (0, MOST + 1)] == [422] * 2


def test_a_long_history_is_told_from_its_end_and_read_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a log that is longer than what is told
    site.deploy("7")
    writer = site.releases.writer()
    tail = writer.tail()
    for _ in range(MOST):
        tail = writer.append(tail, tail.release.event, "7", tail.release)
    (follower,) = site.client.app.state.models.followers()  # type: ignore[attr-defined]
    until(lambda: follower.number == tail.number)
    assert len(site.events()) == MOST

    # When it is asked for again, Then nothing is read again
    monkeypatch.setattr(follower, "entry", None)
    assert len(site.events()) == MOST


def test_an_entry_that_is_damaged_is_named(site: Site) -> None:
    site.deploy("7")
    (Path(site.releases.place) / "flight_delay" / "log" / "0000000001.json").write_text("{")

    answer = site.client.get(f"{PATH}/deployments")

    assert answer.status_code == 500
    assert answer.json()["detail"] == "flight_delay/log/0000000001.json is damaged (JSON); correct or restore it"


@pytest.mark.parametrize("rest", ["", "/release", "/deployments"])
def test_an_unknown_use_case_is_told_those_that_there_are(site: Site, rest: str) -> None:
    site.deploy("7")

    answer = site.client.get(f"/v1/models/nobody{rest}")

    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "there is no model of that name; this server has flight_delay",
    )
