"""Writes the table of steps from include/step_specs.py: `make reference` writes docs/reference/steps.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.step_specs import INTRADAY_FEATURES, NIGHTLY, ROLLBACK, SCORE_INTRADAY, WORK, Data, StepSpec

PAGE = Path(__file__).with_suffix(".md")
DAGS = {
    "Nightly training": NIGHTLY,
    "A worker's shift": (WORK,),
    "Score departures": (INTRADAY_FEATURES, SCORE_INTRADAY),
    "By hand: `make rollback`": (ROLLBACK,),
}


def main() -> None:
    """Write the page and say where it is."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {sum(map(len, DAGS.values()))} steps")


def page() -> str:
    """The whole page, in Markdown."""
    blocks = [
        "# Steps: what each reads and writes",
        "Reference. Made from `include/step_specs.py` by `make reference`; do not edit. Each dataset has one writer. "
        "`deploy`, `smoke_test` and `rollback` change what is in service, which is no dataset: see "
        "[releases](../serving/releases.md).",
    ]
    for title, steps in DAGS.items():
        rows = [_row(step) for step in steps]
        blocks += [
            f"## {title}",
            "\n".join(["| step | reads | writes | image, at most |", "| --- | --- | --- | --- |", *rows]),
        ]
    return "\n\n".join(blocks) + "\n"


def _row(step: StepSpec) -> str:
    minutes = int(step.deadline.total_seconds() // 60)
    return f"| `{step.name}` | {_list(step.reads)} | {_list(step.writes)} | {step.image}, {minutes} min |"


def _list(data: Sequence[Data]) -> str:
    return ", ".join(f"`{one}`" for one in data)


if __name__ == "__main__":
    main()
