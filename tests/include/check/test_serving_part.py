"""What a use case adds to the server: each mistake in its folder `serving` is a line with file, field and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from include.check.package import check_package
from include.check.serving_part import check_mounted
from include.use_case import load_use_case
from tests.use_case_copy import FLIGHT_DELAY, ICE_CREAM, copied

PART = """from copied.serving.routes import Routes
from serving.lookups.shape import Shape
from serving.use_case_part import UseCasePart

PART = UseCasePart("ice_cream", Shape(), Routes)
"""
ROUTES = """from fastapi import APIRouter

class Routes:
    def __init__(self, published, telemetry, settings):
        self.router = APIRouter()
"""
SETTINGS = """from typing import ClassVar
from pydantic import Field
from formats.variables import VariablesModel

class KioskSettings(VariablesModel):
    PREFIX: ClassVar[str] = "SERVING_"
    kiosk_seconds: float = Field(default=1.0, gt=0)

SETTINGS = KioskSettings
"""
SOUND = {"__init__.py": "", "part.py": PART, "routes.py": ROUTES, "settings.py": SETTINGS}

TEXT: dict[str, tuple[Mapping[str, str | None], str]] = {
    "no part": ({"part.py": None}, "serving/part.py: PART: there is no such file; docs/serving/lookups.md says"),
    "a part by another name": ({"part.py": PART.replace("PART =", "ROUTES =")}, "serving/part.py: PART: is not in the"),
    "settings by another name": (
        {"settings.py": SETTINGS.replace("SETTINGS =", "MODEL =")},
        "serving/settings.py: SETTINGS: is not in the module",
    ),
    "a syntax error": ({"routes.py": ROUTES.replace("):", ")")}, "serving/routes.py:4: syntax: "),
    "a library that the image lacks": (
        {"routes.py": f"import pandas\n{ROUTES}"},
        "serving/routes.py:1: import pandas: the server's image has no pandas; do without it",
    ),
    "a library that is nowhere": (
        {"routes.py": f"import no_such_library\n{ROUTES}"},
        "serving/routes.py:1: import no_such_library: the server's image has no no_such_library",
    ),
    "another part of the use case": (
        {"routes.py": f"from copied.features import build\n{ROUTES}"},
        "serving/routes.py:1: import copied.features: is outside serving/, which is all that the server imports",
    ),
    "the pipeline": (
        {"routes.py": f"from include.storage.lake import Lake\n{ROUTES}"},
        "serving/routes.py:1: import include.storage.lake: is the pipeline's, which the server's image lacks",
    ),
}

MOUNTED: dict[str, tuple[Mapping[str, str | None], str]] = {
    "a part that is none": (
        {"part.py": PART.replace('UseCasePart("ice_cream", Shape(), Routes)', "Routes")},
        "serving/part.py: PART: is a type; make it a UseCasePart",
    ),
    "a part of another use case": (
        {"part.py": PART.replace("ice_cream", "kiosk")},
        "serving/part.py: PART.use_case: is 'kiosk'; write 'ice_cream', as spec.py names it",
    ),
    "a shape that is none": (
        {"part.py": PART.replace("Shape()", "Shape")},
        "serving/part.py: PART.shape: is a type; make it a Shape",
    ),
    "a mount that is no function": (
        {"part.py": PART.replace("(), Routes", '(), "routes"')},
        "serving/part.py: PART.mount: is a str; name a function",
    ),
    "a mount that takes less": (
        {"routes.py": ROUTES.replace(", settings", "")},
        "serving/part.py: PART.mount: the server calls it with published, telemetry, settings: too many positional",
    ),
    "a part that cannot be imported": (
        {"routes.py": f"{ROUTES}\nLIMIT = 1 / 0\n"},
        "serving/routes.py:7: import: ZeroDivisionError: division by zero",
    ),
    "settings that are no model": (
        {"settings.py": "SETTINGS = {}\n"},
        "serving/settings.py: SETTINGS: is a dict; name a class of VariablesModel",
    ),
    "settings with another prefix": (
        {"settings.py": SETTINGS.replace('"SERVING_"', '"KIOSK_"')},
        "serving/settings.py: PREFIX: is not SERVING_, which the server looks for; write that",
    ),
    "a setting of the server's own": (
        {"settings.py": SETTINGS.replace("kiosk_seconds", "port")},
        "serving/settings.py: SETTINGS: SERVING_PORT is a setting of the server's own; choose another name",
    ),
    "a setting without a value": (
        {"settings.py": SETTINGS.replace("Field(default=1.0, gt=0)", "Field(gt=0)")},
        "serving/settings.py: SETTINGS: SERVING_KIOSK_SECONDS: Field required; correct the variable, or give the field",
    ),
    "a default that cannot be read": (
        {"settings.py": SETTINGS.replace("gt=0", "gt='none'")},
        "serving/settings.py: SETTINGS: ",
    ),
}


def files(changes: Mapping[str, str | None]) -> dict[str, str]:
    """The folder of a sound package with some files changed or left out."""
    return {f"serving/{name}": text for name, text in {**SOUND, **changes}.items() if text is not None}


@pytest.mark.parametrize(("changes", "said"), TEXT.values(), ids=TEXT)
def test_a_mistake_in_the_folders_text_is_found(tmp_path: Path, changes: Mapping[str, str | None], said: str) -> None:
    with copied(tmp_path, files(changes)) as package:
        lines = list(map(str, check_package(package)))
    assert [line for line in lines if said in line], lines
    assert len(lines) == 1


@pytest.mark.parametrize(("changes", "said"), MOUNTED.values(), ids=MOUNTED)
def test_what_the_server_cannot_mount_is_found(tmp_path: Path, changes: Mapping[str, str | None], said: str) -> None:
    with copied(tmp_path, files(changes)) as package:
        assert list(check_package(package)) == []
        (line,) = map(str, check_mounted(load_use_case(package)))
    assert said in line and "\n" not in line


def test_a_variable_with_a_wrong_value_is_found_in_this_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_KIOSK_SECONDS", "soon")
    with copied(tmp_path, files({})) as package:
        (line,) = map(str, check_mounted(load_use_case(package)))
    assert "SERVING_KIOSK_SECONDS: Input should be a valid number" in line


def test_sound_folders_have_no_finding(tmp_path: Path) -> None:
    for package in (FLIGHT_DELAY, ICE_CREAM):
        assert list(check_mounted(load_use_case(package))) == []
    with copied(tmp_path, files({})) as package:
        assert list(check_package(package)) == list(check_mounted(load_use_case(package))) == []
