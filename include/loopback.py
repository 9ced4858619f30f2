"""Servers on this machine are reached directly, without any proxy of the environment."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

NAMES = ("localhost", "127.0.0.1", "::1")
_EXEMPT = ("NO_PROXY", "no_proxy")
"""Both spellings: some clients read only one, and some let the lower one win."""


def reach_directly(*hosts: str, environment: MutableMapping[str, str] | None = None) -> None:
    """Exempt this machine's names, and `hosts`, from the proxy in an environment (this process's own by default).

    Every HTTP client of this process and of its children reads it. Without a proxy nothing is changed: some
    systems keep their proxy elsewhere, and would ignore it then. What the environment exempts stays exempt.
    """
    environment = os.environ if environment is None else environment
    if not any(
        value and name.lower().endswith("_proxy") and name not in _EXEMPT for name, value in environment.items()
    ):
        return
    named = [name.strip() for variable in _EXEMPT for name in environment.get(variable, "").split(",")]
    exempt = ",".join(dict.fromkeys(name for name in (*named, *NAMES, *hosts) if name))
    environment.update(dict.fromkeys(_EXEMPT, exempt))
