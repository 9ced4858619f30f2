"""Two versions side by side: counts that add up over workers, and the judgement over them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from formats.rollout_plan import Limits

BINS = 10
"""Of equal width over [0, 1]: fixed, so that workers' counts add up."""
BOUNDS = tuple(1e-6 * 2 ** (step / 4) for step in range(100))
"""Upper bounds of durations in seconds, each 19 % above the last: 1 µs to 28 s."""
JUDGED_QUANTILES = (0.5, 0.95)
ALIKE = 0.02
"""Answers that differ by no more than this, as probability and on average, are alike however the bins fall."""


class Side(msgspec.Struct):
    """What one version did: requests and failures, how long they took, how its probabilities are distributed."""

    requests: int = 0
    failures: int = 0
    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    bins: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    durations: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def note(self, probabilities: NDArray[np.float64], seconds: float) -> None:
        """Count one answered request."""
        self.requests += 1
        self.durations[bisect_left(BOUNDS, seconds)] += 1
        self.rows += len(probabilities)
        self.total += float(probabilities.sum())
        self.squares += float(probabilities @ probabilities)
        places = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
        for place, count in enumerate(np.bincount(places, minlength=BINS).tolist()):
            self.bins[place] += count

    def fail(self) -> None:
        """Count one request that it could not answer."""
        self.requests += 1
        self.failures += 1

    def add(self, other: Side) -> None:
        """Count what another process saw, too."""
        self.requests += other.requests
        self.failures += other.failures
        self.rows += other.rows
        self.total += other.total
        self.squares += other.squares
        self.bins = [mine + theirs for mine, theirs in zip(self.bins, other.bins, strict=True)]
        self.durations = [mine + theirs for mine, theirs in zip(self.durations, other.durations, strict=True)]

    @property
    def mean(self) -> float:
        """The mean probability; 0 without rows."""
        return self.total / self.rows if self.rows else 0.0

    @property
    def spread(self) -> float:
        """The standard deviation of its probabilities; 0 without rows."""
        return math.sqrt(max(self.squares / self.rows - self.mean**2, 0.0)) if self.rows else 0.0

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
        """Count what another process saw, too."""
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
                f"{name}_mean": round(side.mean, 5),
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
        """Count what another process saw, too."""
        self.compared.add(other.compared)
        self.answered.add(other.answered)
        self.waiting += other.waiting


def psi(pair: Pair) -> float:
    """The population stability index between both sides' probabilities; 0 when either has none.

    PSI = Σ (pᵢ - qᵢ) · ln(pᵢ / qᵢ) over the bins, as in N. Siddiqi, Credit Risk Scorecards (2006), ch. 9, and in
    B. Yurdakul and J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model
    Validation 14(4) (2020). Half a row is added to each bin, so that an empty one is no infinity.
    """
    if not pair.proven.rows or not pair.trial.rows:
        return 0.0
    before, after = _shares(pair.proven), _shares(pair.trial)
    return float(((before - after) * np.log(before / after)).sum())


def _shares(side: Side) -> NDArray[np.float64]:
    counts = np.asarray(side.bins, dtype=np.float64) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def failures(side: Side, limits: Limits, fewest: int) -> list[str]:
    """What is wrong with how often a version failed; `fewest` requests are taken for granted."""
    allowed = limits.failure_share * max(side.requests, fewest)
    if side.failures <= allowed:
        return []
    return [f"{side.failures} of {side.requests} answers failed, at most {limits.failure_share:.1%} may"]


def distribution(pair: Pair, limits: Limits) -> list[str]:
    """What is wrong with the probabilities of the version on trial, on rows that both have scored."""
    found: list[str] = []
    if pair.difference <= ALIKE:
        return found
    if (index := psi(pair)) > limits.psi:
        found.append(f"its answers are distributed differently: PSI {index:.2f}, at most {limits.psi:g}")
    if (shift := abs(pair.trial.mean - pair.proven.mean)) > limits.mean_shift:
        means = f"{pair.proven.mean:.3f} to {pair.trial.mean:.3f}"
        found.append(f"its mean probability moved by {shift:.3f} ({means}), at most {limits.mean_shift:g}")
    if pair.trial.spread < limits.spread * pair.proven.spread:
        spreads = f"{pair.trial.spread:.4f}, it was {pair.proven.spread:.4f}"
        found.append(f"it hardly tells rows apart: standard deviation {spreads}")
    return found


def latency(pair: Pair, limits: Limits, quantiles: Sequence[float] = JUDGED_QUANTILES) -> list[str]:
    """What is wrong with how long the version on trial takes."""
    for quantile in quantiles:
        before, after = pair.proven.seconds(quantile), pair.trial.seconds(quantile)
        if after > limits.slower * before and after - before > limits.slower_seconds:
            times = f"{after * 1000:.1f} ms instead of {before * 1000:.1f} ms"
            return [f"it is too slow: {times} at the {quantile:.0%} quantile, at most {limits.slower:g} times as long"]
    return []
