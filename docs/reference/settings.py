"""Writes the settings from their models: `make reference` writes docs/reference/settings.md and the README's table."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path

from formats.variables import VariablesModel
from include.packages import default_use_cases, packages
from include.settings import OperatorSettings, Settings, StackSettings
from serving.settings import ServingSettings
from serving.use_case_part import own_settings

PAGE = Path(__file__).with_suffix(".md")
README = PAGE.parents[2] / "README.md"
BEGIN = "<!-- settings: made by `make reference` from include/settings.py -->"
END = "<!-- end of settings -->"
PIPELINE: tuple[type[VariablesModel], ...] = (Settings, StackSettings, OperatorSettings)
SERVING = {
    "host": "The server",
    "keys": "Access",
    "rate": "Limits, of each worker process",
    "lake": "Published predictions",
    "access_log": "Telemetry",
}
"""The first field of each group of serving's settings, and the group's title."""


@dataclass(frozen=True)
class Setting:
    """One row: a variable, its default as a person would write it, and what it means."""

    variable: str
    default: str
    meaning: str

    def row(self) -> str:
        """The row in Markdown."""
        default = f"`{self.default}`" if self.default else ""
        return f"| `{self.variable}` | {default} | {self.meaning} |".replace("|  |", "| |")


def main() -> None:
    """Write the page and the README's table, and say where they are."""
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    every = settings(*PIPELINE, ServingSettings, *(model for _, model in routes()))
    print(f"{PAGE}: {sum(1 for _ in every)} settings; {README}")


def page() -> str:
    """The whole page, in Markdown."""
    blocks = [
        "# Settings",
        "Reference. Made from the code's docstrings by `make reference`; do not edit.",
        "Settings are environment variables. An empty one counts as unset. A name that starts with `NIGHTSHIFT_` or\n"
        "`SERVING_` and is not listed here is rejected. The variables that Kubernetes sets for a Service of that name\n"
        "(addresses and ports, such as `tcp://10.0.0.1:8890`) are ignored.",
    ]
    titles = ("## A deployment", "## The stack of one machine", "## Pods")
    shared = set(Settings.variables())
    for title, model in zip(titles, PIPELINE, strict=True):
        rows = [row for row in settings(model) if model is Settings or row.variable not in shared]
        blocks += [title, inspect.cleandoc(model.__doc__ or ""), table(rows)]
    blocks += ["## Serving", inspect.cleandoc(ServingSettings.__doc__ or "")]
    for title, rows in serving_groups():
        blocks += [f"### {title}", table(rows)]
    for package, model in routes():
        about = f"With `SERVING_ROUTES={package}`. {inspect.cleandoc(model.__doc__ or '')}"
        blocks += [f"### Routes of {package.split('.')[-2]}", about, table(settings(model))]
    return "\n\n".join(blocks) + "\n"


def serving_groups() -> Iterator[tuple[str, list[Setting]]]:
    """Serving's settings by group, in order."""
    groups: dict[str, list[Setting]] = {}
    title = ""
    for field, setting in zip(ServingSettings.model_fields, settings(ServingSettings), strict=True):
        title = SERVING.get(field, title)
        groups.setdefault(title, []).append(setting)
    yield from groups.items()


def routes() -> Iterator[tuple[str, type[VariablesModel]]]:
    """The packages with routes of the use cases in this repository, and the settings of each."""
    for package in packages(default_use_cases()):
        if model := own_settings(f"{package}.serving"):
            yield f"{package}.serving", model


def with_table(readme: str) -> str:
    """The README with the pipeline's settings between its two marks."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(settings(*PIPELINE))}\n\n{END}{rest.partition(END)[2]}"


def table(rows: Iterable[Setting]) -> str:
    """Settings as a table."""
    lines = [row.row() for row in rows]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *lines])


def settings(*models: type[VariablesModel]) -> Iterator[Setting]:
    """The settings of models, in order; one that two models share stands once."""
    seen: set[str] = set()
    for model in models:
        meanings = docstrings(model)
        for name, field in model.model_fields.items():
            variable = model.variable(name)
            if variable not in seen:
                default = None if field.default_factory else field.default
                yield Setting(variable, written(default), meanings.get(name, ""))
            seen.add(variable)


def docstrings(model: type[VariablesModel]) -> dict[str, str]:
    """What the docstring below each field says, as one line; other fields are named by their variables."""
    [body] = [node.body for node in ast.parse(inspect.getsource(model)).body if isinstance(node, ast.ClassDef)]
    found = {}
    for field, text in pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(says))):
                line = " ".join(says.split()).removesuffix(".")
                found[name] = re.sub(r"`(\w+)`", lambda word: f"`{_named(model, word[1])}`", line)
    return found


def _named(model: type[VariablesModel], word: str) -> str:
    return model.variable(word) if word in model.model_fields else word


def written(value: object) -> str:
    """A default as the variable would hold it."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(written(each) for each in value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
