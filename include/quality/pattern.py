"""The one dialect of patterns: RE2, as Arrow has it (https://github.com/google/re2/wiki/Syntax).

A pattern must match the whole text: an end of line is a letter like any other, also at the end. `\\d`, `\\w` and
`\\s` mean ASCII; `\\pL` and its like are the classes of Unicode; `(?i)` ignores the case of any alphabet.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

KEPT, SHORT = 10_000, 100
"""Verdicts that are kept, for texts of up to this many letters: codes and names repeat in single records."""


def matches(values: pa.Array, pattern: str) -> pa.Array:
    """Whether each text matches the whole pattern; null where there is no text."""
    return pc.match_substring_regex(values, _whole(pattern))


def fits(text: str, pattern: str) -> bool:
    """Whether one text matches the whole pattern."""
    return _fits(text, pattern) if len(text) <= SHORT else _judged(text, pattern)


@lru_cache(KEPT)
def _fits(text: str, pattern: str) -> bool:
    return _judged(text, pattern)


def _judged(text: str, pattern: str) -> bool:
    return bool(matches(pa.array([text], pa.string()), pattern)[0].as_py())


def fault(pattern: str) -> str | None:
    """Why a pattern is not of this dialect, in a few words; None if it is."""
    try:
        # By itself, too: `a)|(b` becomes whole only by what is put around it.
        for each in (pattern, _whole(pattern)):
            pc.match_substring_regex(pa.array([""]), each)
    except UnicodeEncodeError:
        return "it holds half a letter"
    except pa.ArrowInvalid as error:
        return str(error).partition(": ")[2] or str(error)
    return None


def _whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"
