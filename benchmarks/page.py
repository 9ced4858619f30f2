"""docs/benchmarks.md, whose sections benches write themselves, each between markers of its own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_section(name: str, title: str, command: str, content: str, page: Path = PAGE) -> None:
    """Put a section there, over the one that the last run wrote, with the date and the command that made it."""
    begin, end = f"<!-- {name}: written by `{command}` -->", f"<!-- /{name} -->"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    section = f"{begin}\n## {title}\n\n{date.today().isoformat()}, `{command}`\n\n{content.strip()}\n{end}"
    opening = f"<!-- {name}: "
    if opening in text and end in text:
        head, tail = text.split(opening, 1)[0], text.split(end, 1)[1]
        text = f"{head}{section}{tail}"
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    page.write_text(text, encoding="utf-8")
