"""Excerpts: text that came from outside, as a line of a log or an error may carry it."""

from __future__ import annotations

LONGEST = 300


def printable(text: str) -> str:
    """The text with everything that does not print (ends of lines, escapes, marks of direction) as Python writes it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def excerpt(value: object, length: int = LONGEST) -> str:
    """The beginning of a value, printable, with an ellipsis where it was cut."""
    text = str(value)
    return printable(text) if len(text) <= length else f"{printable(text[:length])}…"


def first_line(error: BaseException) -> str:
    """What an error says in its first line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
