"""The picture of the day that the README shows."""

from __future__ import annotations

import re
from pathlib import Path

from docs.pictures import timetable
from include.use_cases.flight_delay.spec import SPEC


def test_the_picture_in_the_repository_is_of_the_timetable_in_the_repository() -> None:
    drawn = timetable.PICTURE.read_text(encoding="utf-8")
    assert f"plan {timetable.digest(timetable.planned(SPEC))}" in drawn, "it is stale: make timetable"


def test_the_same_timetable_is_the_same_picture(tmp_path: Path) -> None:
    windows = timetable.planned(SPEC)
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for path in pictures:
        timetable.draw(SPEC, windows, path)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_another_timetable_is_another_picture(tmp_path: Path) -> None:
    windows = timetable.planned(SPEC)
    timetable.draw(SPEC, windows[1:], tmp_path / "less.svg")
    said = re.findall(r"plan ([0-9a-f]{16})", (tmp_path / "less.svg").read_text())
    assert said == [timetable.digest(windows[1:])] != [timetable.digest(windows)]
