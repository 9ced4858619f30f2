"""What a use case adds to the server: routes of its own, over what is published of it, and their settings.

`SERVING_ROUTES` names packages. A package's module `part` holds `PART`; its module `settings`, which may be left out,
holds `SETTINGS`, a model of more `SERVING_` variables. Both may import `serving`, `formats` and what the server's image
has.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from formats.variables import VariableError, VariablesModel

if TYPE_CHECKING:
    from fastapi import APIRouter

    from serving.lookups.published import Published
    from serving.lookups.shape import Shape
    from serving.telemetry.metrics import Telemetry

VARIABLE = "SERVING_ROUTES"


class Mounted(Protocol):
    """A use case's routes, mounted: started after the server's own parts and stopped before them."""

    @property
    def router(self) -> APIRouter:
        """All routes."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End, and whatever is under way."""


@dataclass(frozen=True)
class UseCasePart:
    """The shape of a use case's lookups, and its routes over them; `mount` takes its settings, if it has any."""

    use_case: str
    shape: Shape
    mount: Callable[[Published, Telemetry, Any], Mounted]


def own_settings(package: str) -> type[VariablesModel] | None:
    """The model of a package's own settings, if there is one; `VariableError` for a package that is not there."""
    if not _find(f"{package}.settings", package):
        return None
    model: type[VariablesModel] = importlib.import_module(f"{package}.settings").SETTINGS
    return model


def load_part(package: str) -> UseCasePart:
    """The part in a package; `VariableError` names what is missing."""
    if not _find(f"{package}.part", package):
        raise VariableError(VARIABLE, package, f"{package} has no module part; it holds PART")
    part = getattr(importlib.import_module(f"{package}.part"), "PART", None)
    if not isinstance(part, UseCasePart):
        raise VariableError(VARIABLE, package, f"{package}.part: PART is no UseCasePart; make it one")
    return part


def _find(module: str, package: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        raise VariableError(VARIABLE, package, f"there is no package {package}; correct the name") from None
