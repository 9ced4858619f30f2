"""What a triggered run may hold: the DAG's parameters, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from airflow.sdk.exceptions import AirflowFailException


def refuse_unknown(conf: Mapping[str, Any] | None, known: Collection[str]) -> None:
    """Raise `AirflowFailException` that names what a run's configuration holds beside the DAG's parameters.

    Airflow accepts any key. A misspelt one would run the newest day instead of the requested day.
    """
    unknown = sorted(set(conf or {}) - set(known))
    if not unknown:
        return
    alike = get_close_matches(unknown[0], known, n=1)
    meant = f"; did you mean {alike[0]!r}?" if alike else ";"
    takes = f"this DAG takes {', '.join(sorted(known))}" if known else "this DAG takes none"
    named = ", ".join(map(repr, unknown))
    raise AirflowFailException(f"unknown run parameter {named}{meant} {takes}; trigger it again")
