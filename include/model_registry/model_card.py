"""The model card of a version: what it learned from, why it was chosen, how good it is, and what it cannot do."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.model_registry.experiments import DatasetUsed
from include.model_registry.versions import Draft, Role
from include.modelling.recipe import AnyGates
from include.modelling.tasks.tasks import task_of
from include.quality.data_docs import STYLE
from include.use_case import UseCaseSpec

SHOWN = 20
"""How many inputs and slices a table has at most."""

_MARKUP = re.compile(r"[\\`*\[\]<>|&]")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class ModelCard:
    """A version's card: everything in it is taken from what its night published.

    `report` is the candidate's (`report.json`), `decision` the night's (`decision.json`), `pictures` are PNG files by
    name, and `links` lead elsewhere.
    """

    spec: UseCaseSpec
    gates: AnyGates
    draft: Draft
    report: Mapping[str, Any]
    decision: Mapping[str, Any]
    datasets: Sequence[DatasetUsed]
    pictures: Mapping[str, bytes]
    links: Mapping[str, str]

    def markdown(self) -> str:
        """The card as Markdown."""
        draft, spec = self.draft, self.spec
        curve = task_of(spec).curve
        parts = [
            f"# {spec.name}: {draft.candidate}, trained through {draft.trained_through}",
            f"{spec.title} Owner: {spec.owner}.",
            " · ".join(f"[{name}]({address})" for name, address in self.links.items()),
            _table(("", ""), self._identity()),
            "## Data",
            f"Fitted on {self._rows()} labelled rows, known by the end of {draft.trained_through}.",
            _table(
                ("dataset", "days", "first", "last", "SHA-256"),
                ((one.name, one.days, one.first, one.last, one.digest[:16]) for one in self.datasets),
            ),
            "## Decision",
            draft.description,
            "## Quality",
            self._window(),
            _figures("horizon", self.report["scores"]),
            "## Slices",
            self._slices(),
            f"## {curve.capitalize()}",
            *self._curve(curve),
            "## Inputs",
            "How far the quality falls when the values of one input are shuffled.",
            _table(("input", "fall"), list(self.report["importance"].items())[:SHOWN]),
            "## Known limits",
            "\n".join(f"- {limit}" for limit in self._limits()),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def html(self) -> str:
        """The card as a page that loads nothing from elsewhere."""
        import mistune

        body = mistune.create_markdown(plugins=["table"])(self.markdown())
        pictures = "".join(
            f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
            for name, content in self.pictures.items()
        )
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f"<title>{self.spec.name} {self.draft.trained_through}</title><style>{STYLE}</style></head>"
            f"<body>{body}{pictures}</body></html>\n"
        )

    def _identity(self) -> Iterator[tuple[str, Any]]:
        draft = self.draft
        yield from (
            ("use case", self.spec.name),
            ("role", draft.role),
            ("data day", draft.day),
            ("estimator", draft.recipe.estimator),
            ("parameters", ", ".join(f"{name} {value}" for name, value in draft.recipe.parameters.items())),
            ("recipe", draft.recipe.fingerprint),
            ("model file, SHA-256", draft.sha256),
            ("code revision", draft.facts.get("code_revision", "")),
        )

    def _rows(self) -> int:
        backtest = self.draft.role is Role.BACKTEST
        return int(self.report["folds"][-1]["fitted_rows"] if backtest else self.report["rows"])

    def _window(self) -> str:
        window = self.report["window"]
        return (
            f"On {window['first']} … {window['last']}, by the same recipe fitted through {window['fit_through']}, "
            "so on days that it had not seen."
        )

    def _slices(self) -> str:
        if not self.report["slices"]:
            return f"None has {self.gates.min_slice_rows} rows."
        named = sorted(self.report["slices"].items(), key=lambda each: -each[1]["rows"])
        rest = len(named) - SHOWN
        more = f"\n\n{rest} smaller ones are in report.json." if rest > 0 else ""
        return _figures("slice", dict(named[:SHOWN])) + more

    def _curve(self, name: str) -> Iterator[str]:
        for horizon, bins in self.report.get(name, {}).items():
            yield f"### {horizon}"
            yield _table(list(bins[0]), [list(each.values()) for each in bins])

    def _limits(self) -> Iterator[str]:
        draft, decision = self.draft, self.decision
        yield f"It has seen {self._seen()}, and nothing of other seasons."
        if draft.role is Role.NIGHTLY:
            yield "The figures are those of the same recipe on fewer days, not of this very file."
        yield "A category that it has not seen counts as a missing value."
        named = ", ".join(self.gates.slices) or "nothing"
        yield f"Slices are watched by {named}; one with fewer than {self.gates.min_slice_rows} rows is not judged."
        yield from (
            f"{failure[0].upper()}{failure[1:]}." for failure in decision["trials"][draft.candidate]["failures"]
        )
        if decision.get("remark"):
            yield f"{decision['remark'][0].upper()}{decision['remark'][1:]}."

    def _seen(self) -> str:
        first, last = min(one.first for one in self.datasets), max(one.last for one in self.datasets)
        return f"the days {first} … {min(last, str(self.draft.trained_through))}"


def _figures(of: str, scores: Mapping[str, Mapping[str, Any]]) -> str:
    """A row of figures for each name, all of one kind."""
    columns = list(next(iter(scores.values()), {}))
    return _table((of, *columns), ((name, *(each.get(column) for column in columns)) for name, each in scores.items()))


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    """A value as text: a slice's name comes from data, so no markup in it takes effect."""
    shown = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return _MARKUP.sub(r"\\\g<0>", " ".join(shown.split()))
