"""The shape of a use case's lookups: what serving makes of the rows of their tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.lookups.snapshot import Snapshot

Row = dict[str, Any]
"""A row of a lookup: JSON values by column, instants as text in UTC."""


def _as_it_is(row: Row) -> Any:
    return row


def _no_view(_: Snapshot) -> None:
    return None


@dataclass(frozen=True)
class Shape:
    """How rows are read, once, when their file is; a file is not taken if a reader raises `ValueError` for a row.

    `prediction` reads a row of the predictions, which has a `horizon` too; `tables` a row of each other table that is
    wanted. `view` makes, of each new snapshot, what the use case's own routes look up.
    """

    prediction: Callable[[Row], Any] = _as_it_is
    tables: Mapping[str, Callable[[Row], Any]] = field(default_factory=dict)
    view: Callable[[Snapshot], Any] = _no_view
