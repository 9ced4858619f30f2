"""Two versions side by side: counts that add up over replicas."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import zip_longest
from time import perf_counter
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from formats.answers.measured import BINS, Measured
from formats.portable_model import Found
from formats.request_rows import RequestModel, RowError

BOUNDS = tuple(1e-6 * 2 ** (step / 4) for step in range(100))
"""Upper bounds of durations in seconds, each 19 % above the last: 1 µs to 28 s."""

Count = TypeVar("Count", int, float)


class Side(msgspec.Struct):
    """What one version did: requests and failures, how long they took, how its answers are distributed.

    Answers are points within 0 to 1 (formats/answers): `totals` adds up each of their figures, `squares` all of them.
    """

    requests: int = 0
    failures: int = 0
    rows: int = 0
    totals: list[float] = msgspec.field(default_factory=list)
    squares: float = 0.0
    bins: list[int] = msgspec.field(default_factory=list)
    durations: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def note(self, answers: Measured, seconds: float) -> None:
        """Count one answered request."""
        self.requests += 1
        self.durations[bisect_left(BOUNDS, seconds)] += 1
        self.rows += len(answers.points)
        self.totals = _sums(self.totals, answers.points.sum(axis=0).tolist())
        self.squares += float(np.square(answers.points).sum())
        self.bins = _sums(self.bins, np.bincount(answers.places).tolist())

    def fail(self) -> None:
        """Count one request that it could not answer."""
        self.requests += 1
        self.failures += 1

    def add(self, other: Side) -> None:
        """Count what another replica saw, too."""
        self.requests += other.requests
        self.failures += other.failures
        self.rows += other.rows
        self.totals = _sums(self.totals, other.totals)
        self.squares += other.squares
        self.bins = _sums(self.bins, other.bins)
        self.durations = _sums(self.durations, other.durations)

    @property
    def means(self) -> list[float]:
        """The mean of each figure; none without rows."""
        return [total / self.rows for total in self.totals] if self.rows else []

    @property
    def spread(self) -> float:
        """The standard deviation of its answers; 0 without rows."""
        if not self.rows:
            return 0.0
        return math.sqrt(max(self.squares / self.rows - sum(mean**2 for mean in self.means), 0.0))

    def seconds(self, quantile: float) -> float:
        """A quantile of the durations, to within 19 %; 0 when nothing was answered."""
        wanted, seen = quantile * sum(self.durations), 0
        for place, count in enumerate(self.durations):
            seen += count
            if count and seen >= wanted:
                return BOUNDS[min(place, len(BOUNDS) - 1)]
        return 0.0


class Pair(msgspec.Struct):
    """The proven version and the one on trial.

    `moved` adds up how far apart their answers to the same rows are; 0 where they were not asked the same.
    """

    proven: Side = msgspec.field(default_factory=Side)
    trial: Side = msgspec.field(default_factory=Side)
    moved: float = 0.0

    def add(self, other: Pair) -> None:
        """Count what another replica saw, too."""
        self.proven.add(other.proven)
        self.trial.add(other.trial)
        self.moved += other.moved

    @property
    def difference(self) -> float:
        """The mean distance of both answers to a row."""
        return self.moved / self.trial.rows if self.trial.rows else 0.0

    def figures(self) -> dict[str, float | int]:
        """What a person wants to know of it; durations in milliseconds, their ratio at the median."""
        if not self.proven.requests and not self.trial.requests:
            return {"rows": 0}
        figures: dict[str, float | int] = {"rows": self.trial.rows, "psi": round(psi(self), 4)}
        if self.moved:
            figures["mean_difference"] = round(self.difference, 5)
        if before := self.proven.seconds(0.5):
            figures["latency_ratio"] = round(self.trial.seconds(0.5) / before, 2)
        for name, side in (("proven", self.proven), ("trial", self.trial)):
            figures |= {
                f"{name}_requests": side.requests,
                f"{name}_failures": side.failures,
                **_named_means(name, side),
                f"{name}_spread": round(side.spread, 5),
                f"{name}_p50_ms": round(side.seconds(0.5) * 1000, 3),
                f"{name}_p95_ms": round(side.seconds(0.95) * 1000, 3),
            }
        return figures


class PhaseTally(msgspec.Struct):
    """What was seen in one phase: both versions on the same rows, and each on the requests it answered.

    `waiting` counts the requests and samples that are still to be compared.
    """

    compared: Pair = msgspec.field(default_factory=Pair)
    answered: Pair = msgspec.field(default_factory=Pair)
    waiting: int = 0

    def add(self, other: PhaseTally) -> None:
        """Count what another replica saw, too."""
        self.compared.add(other.compared)
        self.answered.add(other.answered)
        self.waiting += other.waiting


def psi(pair: Pair) -> float:
    """The population stability index between both sides' answers; 0 when either has none.

    PSI = Σ (pᵢ - qᵢ) · ln(pᵢ / qᵢ) over the bins, as in N. Siddiqi, Credit Risk Scorecards (2006), ch. 9, and in
    B. Yurdakul and J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model
    Validation 14(4) (2020). Half a row is added to each bin, so that an empty one is no infinity.
    """
    if not pair.proven.rows or not pair.trial.rows:
        return 0.0
    bins = max(BINS, len(pair.proven.bins), len(pair.trial.bins))
    before, after = _shares(pair.proven, bins), _shares(pair.trial, bins)
    return float(((before - after) * np.log(before / after)).sum())


def apart(one: Measured, other: Measured) -> float:
    """How far apart two versions' answers to the same rows are, added up over the rows."""
    return float(np.abs(one.points - other.points).max(axis=1).sum())


def comparable(proven: RequestModel, trial: RequestModel) -> bool:
    """Whether a request made for one model is one for the other, too; categories may differ."""
    before, after = ([(column.name, column.kind) for column in model.inputs] for model in (proven, trial))
    return before == after


def compared(
    proven: RequestModel, trial: RequestModel, ask: Callable[[RequestModel], Found], *, trial_first: bool
) -> Pair:
    """Both versions asked the same; empty when the request is wrong, or the proven version fails too.

    The second one finds the caches warm, so callers let them take turns.
    """
    pair = Pair()
    sides = [(proven, pair.proven), (trial, pair.trial)]
    found: list[Measured] = []
    for model, side in sides[:: -1 if trial_first else 1]:
        started = perf_counter()
        try:
            answers = ask(model)
            seconds = perf_counter() - started
        except RowError:
            return Pair()
        except Exception:
            side.fail()
        else:
            # By one measure, the proven one's.
            found.append(proven.kind.measured(answers, model.kind))
            side.note(found[-1], seconds)
    if len(found) == len(sides):
        pair.moved = apart(*found)
    return Pair() if pair.proven.failures else pair


def _shares(side: Side, bins: int) -> NDArray[np.float64]:
    counts = np.asarray(_sums(side.bins, [0] * bins), dtype=np.float64) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _sums(mine: list[Count], theirs: list[Count]) -> list[Count]:
    return [one + other for one, other in zip_longest(mine, theirs, fillvalue=0)]


def _named_means(name: str, side: Side) -> dict[str, float | int]:
    means = [round(mean, 5) for mean in side.means] or [0.0]
    return {f"{name}_mean": means[0]} if len(means) == 1 else {f"{name}_mean_{n}": mean for n, mean in enumerate(means)}
