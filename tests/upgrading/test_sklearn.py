"""What this project reads in a fitted model of scikit-learn beyond its public interface."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from include.modelling.estimators.trees import LINKS


@pytest.fixture(scope="module")
def fitted() -> HistGradientBoostingClassifier:
    """Two small trees, one input with missing values."""
    matrix = np.linspace(0.0, 1.0, 80).reshape(40, 2)
    matrix[::7, 1] = np.nan
    classifier = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2, early_stopping=False)
    return classifier.fit(matrix, matrix[:, 0] > 0.5)


def test_sklearn_still_keeps_its_trees_under_this_name(fitted: HistGradientBoostingClassifier) -> None:
    assert [len(trees) for trees in fitted._predictors] == [1, 1]


def test_sklearn_still_describes_a_node_by_these_fields(fitted: HistGradientBoostingClassifier) -> None:
    ((tree,), _) = fitted._predictors
    read = {"value", "feature_idx", "num_threshold", "missing_go_to_left", "left", "right", "is_leaf"}
    assert read <= set(tree.nodes.dtype.names)
    assert not tree.nodes["is_categorical"].any(), "the file's trees split by numbers only"


def test_sklearn_still_starts_every_row_from_this_score(fitted: HistGradientBoostingClassifier) -> None:
    assert fitted._baseline_prediction.size == 1


def test_sklearn_still_names_the_links_of_its_losses(fitted: HistGradientBoostingClassifier) -> None:
    matrix, labels = np.arange(40.0).reshape(-1, 1), np.arange(40) % 3
    several = HistGradientBoostingClassifier(max_iter=1).fit(matrix, labels)
    lines = [
        HistGradientBoostingRegressor(max_iter=1, loss=loss).fit(matrix, labels)
        for loss in ("poisson", "squared_error")
    ]
    assert [type(each._loss.link).__name__ for each in (fitted, several, *lines)] == list(LINKS)


def test_sklearn_still_looks_at_parameters_by_this_method() -> None:
    wrong = HistGradientBoostingClassifier(max_iter=-1)
    assert "max_iter" in wrong._parameter_constraints
    with pytest.raises(ValueError, match="The 'max_iter' parameter of HistGradientBoostingClassifier must be an int"):
        wrong._validate_params()
