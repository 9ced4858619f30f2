"""The static part: a use case's package against what the documentation asks of it, before any step, in a second."""

from __future__ import annotations

from collections.abc import Iterator

from include.check.finding import Finding
from include.errors import SettingsError
from include.use_case import load_use_case


def check_package(package: str) -> Iterator[Finding]:
    """Every mistake of a package that can be seen without its data."""
    try:
        load_use_case(package)
    except SettingsError as error:
        yield Finding("spec.py", "SPEC", str(error))
