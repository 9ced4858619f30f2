"""Copies of a use case under a name of their own, with a mistake or two made in them."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ICE_CREAM = "tests.use_cases.ice_cream"
FLIGHT_DELAY = "include.use_cases.flight_delay"

Edits = Mapping[str, tuple[str, str] | str | None]
"""For each file: what is replaced by what; or its new content; or nothing, where it is taken away."""


@contextmanager
def copied(folder: Path, edits: Edits, of: str = ICE_CREAM, name: str = "copied") -> Iterator[str]:
    """The dotted package of a copy that can be imported as long as the block lasts."""
    target = folder / name
    shutil.copytree(ROOT.joinpath(*of.split(".")), target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in target.glob("*.py"):
        path.write_text(path.read_text().replace(of, name))
    for file, edit in edits.items():
        path = target / file
        if edit is None:
            path.unlink()
        elif isinstance(edit, str):
            path.parent.mkdir(exist_ok=True)
            path.write_text(edit)
        else:
            assert edit[0] in path.read_text(), f"{file} has no {edit[0]}"
            path.write_text(path.read_text().replace(*edit))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield name
    finally:
        sys.path.remove(str(folder))
        for module in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            del sys.modules[module]
