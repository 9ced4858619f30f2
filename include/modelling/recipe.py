"""A recipe: everything needed to fit a candidate again, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Estimator(StrEnum):
    """The kinds of model that can be fitted and written out as a portable file."""

    HIST_GRADIENT_BOOSTING = "hist_gradient_boosting"
    LOGISTIC_REGRESSION = "logistic_regression"
    HISTORICAL_RATES = "historical_rates"


@dataclass(frozen=True)
class Recipe:
    """A candidate's name, estimator, inputs (feature columns), parameters and seed.

    `baseline` marks the candidate that the first champion must beat; it is never promoted itself.
    """

    name: str
    estimator: Estimator
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
        return cls(**body | {"estimator": Estimator(body["estimator"]), "inputs": tuple(body["inputs"])})

    @property
    def fingerprint(self) -> str:
        """A short hash; equal recipes have equal ones."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Gates:
    """The limits that a candidate must keep to be promoted (method and reasons: docs/choosing.md).

    `auc_margin`: how much worse than the champion in AUC still counts as equal, beyond bootstrap noise.
    `max_calibration_error`: greatest expected calibration error over ten equal-count bins, as probability; above it a
    candidate still passes if its error is at most `max_calibration_excess` greater than its opponent's.
    `max_slice_drop`: how far AUC may fall below the champion's on any slice with at least `min_slice_rows` rows.
    """

    auc_margin: float = 0.002
    max_calibration_error: float = 0.06
    max_calibration_excess: float = 0.02
    max_slice_drop: float = 0.05
    min_slice_rows: int = 300
    bootstrap_rounds: int = 500
    confidence: float = 0.95
    slices: tuple[str, ...] = ()
