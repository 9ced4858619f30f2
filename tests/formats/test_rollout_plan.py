from __future__ import annotations

import pytest
from pydantic import ValidationError

from formats.rollout_plan import Plan


@pytest.mark.parametrize(
    "wish", [{"share": 1.1}, {"share": -0.1}, {"shadow_rows": -1}, {"speed": 1}, {"limits": {"x": 1}}]
)
def test_a_plan_that_makes_no_sense_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(wish)
