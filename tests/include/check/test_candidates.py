"""Each candidate's estimator is made by the check; what it does not take is a line with recipe and parameter."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.check.candidates import check_candidates
from include.settings import Settings
from include.step import open_context
from tests.use_case_copy import FLIGHT_DELAY, ICE_CREAM, Edits, copied

RECIPE = "candidates.py: Recipe hist_gradient_boosting: "
TREES = "Estimator.HIST_GRADIENT_BOOSTING"
WHOLE = f"""{TREES},
        INPUTS,
        {{"max_iter": 30, "learning_rate": 0.1, "max_leaf_nodes": 8, "min_samples_leaf": 20}}"""
OWN = """
class Own:
    tolerance = 1e-9
    def __init__(self, problem, *, depth):
        self.depth = 10 // depth
    def fit(self, matrix, labels): ...
    def predict(self, matrix): ...
    def to_onnx(self): ...
"""

MISTAKES: dict[str, tuple[Edits, str]] = {
    "a parameter that is none": (
        {"candidates.py": ('"max_iter"', '"max_iters"')},
        f"{RECIPE}parameters: TypeError: HistGradientBoostingClassifier.__init__() got an unexpected keyword argument "
        "'max_iters'; correct it in candidates.py",
    ),
    "a value that is out of range": (
        {"candidates.py": ('"learning_rate": 0.1', '"learning_rate": -0.1')},
        f"{RECIPE}parameters: InvalidParameterError: The 'learning_rate' parameter of HistGradientBoostingClassifier "
        "must be a float in the range (0.0, inf). Got -0.1 instead.",
    ),
    "a text where a number is due": (
        {"candidates.py": ('"max_leaf_nodes": 8', '"max_leaf_nodes": "8"')},
        "The 'max_leaf_nodes' parameter of HistGradientBoostingClassifier must be",
    ),
    "no number of rows": (
        {"candidates.py": ('"max_iter": 30', '"max_rows": 1e6')},
        f"{RECIPE}parameters: max_rows=1000000.0: is no number of rows; write a whole number",
    ),
    "a parameter of an estimator that has none": (
        {"candidates.py": ('("sold_out_rate",), ', '("sold_out_rate",), {"prior": 1}, ')},
        "candidates.py: Recipe historical_rates: parameters: TypeError: Rates.__init__() got an unexpected keyword "
        "argument 'prior'",
    ),
    "an estimator of another task": (
        {"candidates.py": (WHOLE, "Estimator.CLASS_SHARES, INPUTS")},
        f"{RECIPE}estimator: class_shares answers no binary task; take historical_rates",
    ),
    "a step of a pipeline": (
        {"candidates.py": (TREES, '"copied.piped.piped"'),
         "piped.py": (
             "from sklearn.linear_model import LogisticRegression\nfrom sklearn.pipeline import make_pipeline\n"
             "from sklearn.preprocessing import StandardScaler\n"
             "def piped(**_): return make_pipeline(StandardScaler(), LogisticRegression(C=-1))\n"
         )},
        "InvalidParameterError: The 'C' parameter of LogisticRegression must be a float in the range (0.0, inf].",
    ),
    "an estimator of one's own without a parameter": (
        {"candidates.py": (TREES, '"copied.own.Own"'), "own.py": OWN},
        f"{RECIPE}parameters: TypeError: Own.__init__() got an unexpected keyword argument 'max_iter'",
    ),
    "an estimator of one's own that fails": (
        {"candidates.py": (WHOLE, '"copied.own.Own", INPUTS, {"depth": 0}'), "own.py": OWN},
        "own.py:5: Recipe hist_gradient_boosting: parameters: ZeroDivisionError: ",
    ),
}  # fmt: skip


def found(package: str, lake: Path) -> list[str]:
    """What the check says of a package's candidates."""
    return list(map(str, check_candidates(open_context(package, Settings(lake=str(lake))))))


@pytest.mark.parametrize(("edits", "said"), MISTAKES.values(), ids=MISTAKES)
def test_what_an_estimator_does_not_take_is_found(tmp_path: Path, edits: Edits, said: str) -> None:
    with copied(tmp_path, edits) as package:
        (line,) = found(package, tmp_path / "lake")
    assert said in line and "\n" not in line


@pytest.mark.parametrize(
    "package",
    [FLIGHT_DELAY, ICE_CREAM, *(f"tests.use_cases.{name}" for name in ("arrival_class", "arrival_delay"))],
)
def test_the_candidates_of_sound_packages_are_made(package: str, tmp_path: Path) -> None:
    assert found(package, tmp_path) == []
