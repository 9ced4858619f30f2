"""A recipe: everything needed to fit a candidate again, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Estimator(StrEnum):
    """The estimators that come with the platform."""

    HIST_GRADIENT_BOOSTING = "hist_gradient_boosting"
    LOGISTIC_REGRESSION = "logistic_regression"
    HISTORICAL_RATES = "historical_rates"
    CLASS_SHARES = "class_shares"


@dataclass(frozen=True)
class Recipe:
    """A candidate's name, estimator, inputs (feature columns), parameters and seed.

    `estimator` is one that comes with the platform, or the dotted path of a scikit-learn, LightGBM or XGBoost class, of
    a function that makes one, or of a class of the protocol `include.modelling.estimators.estimator.Estimating`.
    `baseline` marks the candidate that the first champion must beat; it is never promoted itself.
    """

    name: str
    estimator: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 20130101
    baseline: bool = False

    def to_json(self) -> str:
        """The recipe as canonical JSON, as a model version holds it."""
        return json.dumps(vars(self), sort_keys=True, default=list)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """A recipe from `to_json`'s text."""
        body = json.loads(text)
        return cls(**body | {"inputs": tuple(body["inputs"])})

    @property
    def fingerprint(self) -> str:
        """A short hash; equal recipes have equal ones."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class SharedGates:
    """The limits of every task (method and reasons: docs/choosing.md).

    A slice is compared where it has at least `min_slice_rows` rows. An interval holds `confidence` of
    `bootstrap_rounds` draws of days.
    """

    min_slice_rows: int = 300
    bootstrap_rounds: int = 500
    confidence: float = 0.95
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CalibratedGates(SharedGates):
    """The limits of probabilities: their calibration error, as a probability, and how much an opponent excuses."""

    max_calibration_error: float = 0.06
    max_calibration_excess: float = 0.02

    @property
    def max_error(self) -> float:
        """`max_calibration_error`."""
        return self.max_calibration_error

    @property
    def max_excess(self) -> float:
        """`max_calibration_excess`."""
        return self.max_calibration_excess


@dataclass(frozen=True, kw_only=True)
class Gates(CalibratedGates):
    """The limits that a candidate of a binary task must keep to be promoted.

    `auc_margin`: how much worse than the champion in AUC still counts as equal, beyond bootstrap noise.
    `max_calibration_error`: greatest expected calibration error over ten equal-count bins, as probability; above it a
    candidate still passes if its error is at most `max_calibration_excess` greater than its opponent's.
    `max_slice_drop`: how far AUC may fall below the champion's on any slice.
    """

    auc_margin: float = 0.002
    max_slice_drop: float = 0.05

    @property
    def margin(self) -> float:
        """`auc_margin`."""
        return self.auc_margin


@dataclass(frozen=True, kw_only=True)
class MulticlassGates(CalibratedGates):
    """The limits that a candidate of a multiclass task must keep; they are read as those of `Gates`, in macro F1.

    The calibration error is that of the class that was answered: its probability against how often it was right.
    """

    f1_margin: float = 0.005
    max_calibration_error: float = 0.08
    max_slice_drop: float = 0.08

    @property
    def margin(self) -> float:
        """`f1_margin`."""
        return self.f1_margin


@dataclass(frozen=True, kw_only=True)
class RegressionGates(SharedGates):
    """The limits that a candidate of a regression must keep to be promoted.

    `rmse_margin` and `max_slice_drop` are shares of the opponent's RMSE: how much more of it still counts as equal, and
    how much more there may be on any slice. `max_bias`: greatest distance of mean prediction and mean label, in
    standard deviations of the label; above it a candidate still passes if its own is at most `max_bias_excess` greater
    than its opponent's.
    """

    rmse_margin: float = 0.01
    max_bias: float = 0.15
    max_bias_excess: float = 0.05
    max_slice_drop: float = 0.15

    @property
    def margin(self) -> float:
        """`rmse_margin`."""
        return self.rmse_margin

    @property
    def max_error(self) -> float:
        """`max_bias`."""
        return self.max_bias

    @property
    def max_excess(self) -> float:
        """`max_bias_excess`."""
        return self.max_bias_excess


AnyGates = Gates | MulticlassGates | RegressionGates
