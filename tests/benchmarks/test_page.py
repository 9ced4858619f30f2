from __future__ import annotations

from datetime import date
from pathlib import Path

from benchmarks.page import write_section


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n## A night\n\n240 s\n")

    write_section("serving", "Serving", "make bench-serving", "| 1 |\n", page)
    write_section("scoring", "Scoring", "make bench-scoring", "| fast |", page)
    write_section("serving", "Serving", "make bench-serving", "| 2 |\n", page)

    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n## A night\n\n240 s\n\n<!-- serving: ")
    assert text.count("## Serving") == 1
    assert f"{date.today().isoformat()}, `make bench-serving`\n\n| 2 |\n<!-- /serving -->" in text
    assert "| 1 |" not in text
    assert text.index("| 2 |") < text.index("| fast |")
