"""An unknown name, and the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 12


def none_of(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: `is none of …; did you mean …?`."""
    names = list(known)
    listed = ", ".join(names[:MOST_LISTED]) + (f" and {len(names) - MOST_LISTED} more" * (len(names) > MOST_LISTED))
    return f"is none of {listed or 'any'}; {likely(name, names) or 'write one of these'}"


def likely(name: str, known: Iterable[str]) -> str:
    """The question `did you mean …?` with the known name that is closest, or nothing if none is close."""
    close = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def not_a_setting(name: str, known: Iterable[str], page: str) -> str:
    """What to say of an unknown setting, also one in the wrong case; `page` lists all of them."""
    names = list(known)
    return f"{name} is not a setting; {likely(name, names) or likely(name.upper(), names) or f'{page} lists them all'}"
