"""An expectation that cannot even be evaluated is a finding, not a pass."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from include.quality.findings import Check, Severity
from include.quality.inspection import Inspection
from include.quality.quiet_gx import gxe
from tests.small_case import DAY


def test_an_expectation_that_raises_is_a_hard_finding_with_the_reason(tmp_path: Path) -> None:
    meta = {"check": "range", "column": "amount", "expected": "from 0 to 1"}
    frame = pd.DataFrame({"amount": ["a", 1, None]})
    expectations = [
        gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=0, max_value=1, meta=meta),
        gxe.ExpectColumnMaxToBeBetween(column="gone", max_value=1, meta=meta | {"column": "gone"}),
    ]
    found = {one.column: one for one in Inspection(DAY, tmp_path).findings("odd", frame, expectations)}
    assert set(found) == {"amount", "gone"}
    for finding in found.values():
        assert finding.check is Check.RANGE
        assert finding.severity is Severity.HARD
        assert finding.broken == 3
        assert finding.examples
