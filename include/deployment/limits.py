"""The judgement over a version on trial: what of its figures breaks a limit of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from formats.comparison import Pair, Side, psi
from formats.rollout_plan import Limits

JUDGED_QUANTILES = (0.5, 0.95)
ALIKE = 0.02
"""Answers that differ by no more than this, as they are measured and on average, are alike however the bins fall."""


def failures(side: Side, limits: Limits, fewest: int) -> list[str]:
    """What is wrong with how often a version failed; `fewest` requests are taken for granted."""
    allowed = limits.failure_share * max(side.requests, fewest)
    if side.failures <= allowed:
        return []
    return [f"{side.failures} of {side.requests} answers failed, at most {limits.failure_share:.1%} may"]


def distribution(pair: Pair, limits: Limits) -> list[str]:
    """What is wrong with the answers of the version on trial, on rows that both have scored."""
    found: list[str] = []
    if pair.difference <= ALIKE:
        return found
    if (index := psi(pair)) > limits.psi:
        found.append(f"its answers are distributed differently: PSI {index:.2f}, at most {limits.psi:g}")
    before, after = max(zip_longest(pair.proven.means, pair.trial.means, fillvalue=0.0), key=lambda p: abs(p[1] - p[0]))
    if (shift := abs(after - before)) > limits.mean_shift:
        means = f"{before:.3f} to {after:.3f}"
        found.append(f"its mean answer moved by {shift:.3f} ({means}), at most {limits.mean_shift:g}")
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
