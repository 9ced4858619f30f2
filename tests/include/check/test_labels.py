"""Labels that were not known yet are found, and what is no label."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.check.finding import Mistake
from include.check.labels import check_labels
from include.check.sample import read_sample
from include.settings import Settings
from include.step import open_context
from tests.use_case_copy import FLIGHT_DELAY, ICE_CREAM, Edits, copied

pytestmark = pytest.mark.slow

KNOWN = 'pc.less_equal(outcomes["arrived_at"], pa.scalar(known_by, pa.timestamp("us", tz="UTC")))'


def checked(package: str, lake: Path) -> list[Mistake]:
    """What is found of a package's labels."""
    context = open_context(package, Settings(lake=str(lake)))
    return check_labels(context, read_sample(context))


@pytest.mark.parametrize("package", [ICE_CREAM, FLIGHT_DELAY])
def test_honest_labels_have_no_finding(package: str, tmp_path: Path) -> None:
    assert checked(package, tmp_path) == []


@pytest.mark.parametrize(
    ("of", "edits", "where", "said"),
    [
        pytest.param(
            FLIGHT_DELAY,
            {"label.py": (KNOWN, 'pc.is_valid(outcomes["arrived_at"])')},
            "label.py",
            "answers what was not known by known_by: ",
            id="an outcome that came later",
        ),
        pytest.param(
            ICE_CREAM,
            {"label.py": ('"label": outcomes', '"labels": outcomes')},
            "label.py",
            "labels() answers the columns kiosk_day, date, labels; answer kiosk_day, label",
            id="another column",
        ),
        pytest.param(
            ICE_CREAM,
            {"label.py": ('outcomes["sold_out"]', 'outcomes["soldout"]')},
            "label.py:20",
            "KeyError",
            id="a failure, by its line",
        ),
        pytest.param(
            ICE_CREAM,
            {"label.py": ('.astype("float64")', '.astype("float64") + 1')},
            "label.py",
            "label is neither 0 nor 1 (2)",
            id="a label that is none",
        ),
    ],
)
def test_a_mistake_in_label_py_is_found(of: str, edits: Edits, where: str, said: str, tmp_path: Path) -> None:
    with copied(tmp_path, edits, of) as package:
        (finding,) = checked(package, tmp_path / "lake")
    assert finding.where == where
    assert said in finding.problem
