"""The use cases that have no DAGs, as an import error: Airflow shows it, and the other files' DAGs stay.

An error raised in a file takes all DAGs of that file away, so this one has none.
"""

from __future__ import annotations

from include.errors import SettingsError
from plugins.deployment import broken_use_cases

if errors := broken_use_cases():
    raise SettingsError("\n".join(map(str, errors)))
