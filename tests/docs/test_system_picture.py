"""The picture of the whole system that the README shows."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from docs.pictures import system
from include.storage.lake import Layer

STEPS = Path(__file__).resolve().parents[2] / "include" / "steps"


def words() -> str:
    return " ".join(ElementTree.parse(system.PICTURE).getroot().itertext())


def test_the_picture_in_the_repository_is_what_the_script_draws() -> None:
    assert system.PICTURE.read_text(encoding="utf-8") == system.picture(), "it is stale: make system"


def test_every_step_and_every_layer_of_the_lake_is_on_it() -> None:
    steps = {path.stem for path in STEPS.glob("[a-z]*.py")} | {"features"}
    assert {name for name in (steps | set(Layer)) if name not in words()} == set()


def test_no_box_covers_another_and_all_are_on_the_sheet() -> None:
    inner = [box for box in system.boxes() if not box.heading]
    for n, box in enumerate(inner):
        assert 0 <= box.x < box.x + box.width <= system.WIDTH
        assert 0 <= box.y < box.bottom <= system.HEIGHT
        for other in inner[n + 1 :]:
            apart = box.x + box.width <= other.x or other.x + other.width <= box.x
            assert apart or box.bottom <= other.y or other.bottom <= box.y, (box.name, other.name)
