"""Foreign text in words of our own: what a record says of itself may be told, not obeyed."""

from __future__ import annotations

LONGEST = 300


def printable(text: str, longest: int = LONGEST) -> str:
    """Text as one line that every log, terminal and table takes; what cannot be shown is escaped, what is long cut."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:longest])
    return shown if len(text) <= longest else f"{shown}…"
