from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.deployment.imported import import_served
from include.deployment.writer import ReleaseWriter
from include.settings import Settings

CURRENT: dict[str, Any] = {
    "version": "7",
    "sha256": "a" * 64,
    "uri": "file:///models/7.onnx",
    "use_case": "flight_delay",
    "since": "2026-11-25T01:30:00Z",
    "trained_through": "2013-10-01",
    "by": "a night",
}


def test_what_a_server_served_before_there_were_releases_is_the_first_entry(tmp_path: Path) -> None:
    # Given the state folder of an older server
    settings = Settings(lake=str(tmp_path / "lake"))
    path = tmp_path / "current.json"
    path.write_text(json.dumps(CURRENT))

    # When it is taken over, twice
    imported = [import_served(settings, tmp_path) for _ in range(2)]

    # Then it serves, once, and can be read nowhere else
    release = ReleaseWriter.open(settings, "flight_delay").tail()
    assert release.number == 1
    assert release.release.serving == imported[0]
    assert (imported[1], path.exists()) == (None, False)
    assert release.release.why == "served before there were releases"


def test_what_was_released_since_is_never_replaced_by_it(tmp_path: Path) -> None:
    settings = Settings(lake=str(tmp_path / "lake"))
    (tmp_path / "current.json").write_text(json.dumps(CURRENT))
    import_served(settings, tmp_path)
    (tmp_path / "current.json").write_text(json.dumps(CURRENT | {"version": "3"}))

    assert import_served(settings, tmp_path) is None
    serving = ReleaseWriter.open(settings, "flight_delay").tail().release.serving
    assert serving is not None
    assert serving.version == "7"


@pytest.mark.parametrize("content", ['{"version": ', "[]", '"7"', '{"version": "7"}'])
def test_a_damaged_file_is_left_where_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "current.json").write_text(content)

    assert import_served(Settings(lake=str(tmp_path / "lake")), tmp_path) is None
    assert (tmp_path / "current.json").exists()
