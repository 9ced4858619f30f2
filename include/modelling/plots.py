"""Pictures of a candidate: how well its probabilities are calibrated, and which inputs matter."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from include.modelling.evaluation import CalibrationBin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from include.modelling.tasks.regression import ResidualBin

SHOWN = 20


def calibration_plot(
    curves: Mapping[str, Sequence[CalibrationBin]],
    predicted: str = "predicted probability",
    observed: str = "observed share",
) -> bytes:
    """Predicted probability against observed share, a line for each horizon, as PNG."""
    figure = _figure(5.0, 5.0)
    axes = figure.add_subplot()
    limit = max([0.1, *(max(b.predicted, b.observed) for bins in curves.values() for b in bins)]) * 1.05
    axes.plot([0, limit], [0, limit], color="0.6", linewidth=1, linestyle="--")
    for name, bins in curves.items():
        axes.plot([b.predicted for b in bins], [b.observed for b in bins], marker="o", markersize=4, label=name)
    axes.set(xlabel=predicted, ylabel=observed, xlim=(0, limit), ylim=(0, limit))
    axes.legend(frameon=False)
    return _png(figure)


def residual_plot(curves: Mapping[str, Sequence[ResidualBin]]) -> bytes:
    """Residuals by prediction, their mean and middle half in equal-count groups, a line for each horizon, as PNG."""
    figure = _figure(6.0, 4.5)
    axes = figure.add_subplot()
    axes.axhline(0, color="0.6", linewidth=1, linestyle="--")
    for name, bins in curves.items():
        predicted = [b.predicted for b in bins]
        (line,) = axes.plot(predicted, [b.observed - b.predicted for b in bins], marker="o", markersize=4, label=name)
        axes.fill_between(predicted, [b.low for b in bins], [b.high for b in bins], alpha=0.2, color=line.get_color())
    axes.set(xlabel="prediction", ylabel="residual: label less prediction")
    axes.legend(frameon=False)
    return _png(figure)


def importance_plot(importance: Mapping[str, float], shown_as: str = "fall in AUC when shuffled") -> bytes:
    """The inputs whose shuffling costs most, as PNG."""
    shown = list(importance.items())[:SHOWN][::-1]
    figure = _figure(6.0, 0.6 + 0.25 * len(shown))
    axes = figure.add_subplot()
    axes.barh([name for name, _ in shown], [fall for _, fall in shown])
    axes.set_xlabel(shown_as)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # it logs each list of fonts it makes
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
