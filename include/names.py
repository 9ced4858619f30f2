"""An unknown name, and the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 12


def none_of(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: `is none of …; did you mean …?`."""
    names = list(known)
    listed = ", ".join(names[:MOST_LISTED]) + (f" and {len(names) - MOST_LISTED} more" * (len(names) > MOST_LISTED))
    close = get_close_matches(name, names, n=1)
    return f"is none of {listed or 'any'}" + (f"; did you mean {close[0]}?" if close else "; write one of these")
