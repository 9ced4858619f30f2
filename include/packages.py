"""How a use case is named: a dotted package, the entry point of an installed one, or a folder anywhere."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from include.errors import SettingsError

ENTRY_POINTS = "nightshift.use_cases"
"""The group in which a distribution names its use cases: `yours = "your_company.yours"`."""

FOLDER = Path(__file__).parent / "use_cases"
"""Where a use case is found without being named."""


def default_use_cases() -> str:
    """What `NIGHTSHIFT_USE_CASES` is when it is not set: each folder of `include/use_cases` that has a spec.py."""
    return ",".join(f"include.use_cases.{path.parent.name}" for path in sorted(FOLDER.glob("*/spec.py")))


def named_use_cases(environment: Mapping[str, str]) -> str:
    """What `NIGHTSHIFT_USE_CASES` says, or its default."""
    return environment.get("NIGHTSHIFT_USE_CASES") or default_use_cases()


def packages(named: str) -> list[str]:
    """The use cases in a text that separates them by commas, as they are named there."""
    return [name.strip() for name in named.split(",") if name.strip()]


def first_package(named: str) -> str:
    """The first of the use cases separated by commas, which commands use."""
    return named.split(",", maxsplit=1)[0].strip()


def python_path(root: Path, named: str) -> str:
    """A `PYTHONPATH` by which another Python finds the project and the use cases that are folders elsewhere."""
    folders = [_home(Path(name).expanduser().resolve()) for name in packages(named) if _is_folder(name)]
    return os.pathsep.join(dict.fromkeys(map(str, (root, *folders))))


def find_package(name: str) -> str:
    """The dotted package that a name means. A folder's home joins Python's search path, as its last place.

    Raises `SettingsError` for a folder that cannot be a package, or whose name another package has.
    """
    if _is_folder(name):
        return _of_folder(Path(name).expanduser().resolve())
    if "." in name or not name.isidentifier() or find_spec(name):
        return name
    return next((point.value for point in entry_points(group=ENTRY_POINTS, name=name)), name)


def _is_folder(name: str) -> bool:
    return os.sep in name or name.startswith((".", "~"))


def _home(folder: Path) -> Path:
    """Where Python looks for the folder's outermost package, as pytest finds it: the first without `__init__.py`."""
    home = folder.parent
    while (home / "__init__.py").is_file():
        home = home.parent
    return home


def _of_folder(folder: Path) -> str:
    if not (folder / "spec.py").is_file():
        raise SettingsError(f"use case {str(folder)!r}: has no spec.py; name the folder that holds it")
    home = _home(folder)
    parts = folder.relative_to(home).parts
    _require_identifiers(folder, parts)
    if str(home) not in sys.path:
        sys.path.append(str(home))
        importlib.invalidate_caches()
    package = ".".join(parts)
    found = find_spec(package)
    if found is None or folder not in map(Path, found.submodule_search_locations or ()):
        place = found.origin if found else "nowhere"
        raise SettingsError(f"use case {str(folder)!r}: Python finds {package!r} at {place}; rename the folder")
    return package


def _require_identifiers(folder: Path, parts: Iterable[str]) -> None:
    for part in parts:
        if not part.isidentifier():
            raise SettingsError(
                f"use case {str(folder)!r}: {part!r} is no name for a package; rename it to letters, digits and _"
            )
