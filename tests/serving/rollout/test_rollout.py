from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from pydantic import ValidationError
from serving.rollout.rollout import InService, Rollout

from formats.rollout_plan import NEXT, Phase, Plan

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ENTRY = InService(version="8", sha256="0" * 64, uri="file:///8.onnx", use_case="flight_delay", since=NOW)


def rollout(phase: Phase = Phase.NONE) -> Rollout:
    return Rollout(id="r", worker="1-a", entry=ENTRY, instead_of="7", phase=phase, began=NOW, changed=NOW)


def test_a_version_goes_from_shadow_over_canary_into_service() -> None:
    shadow = rollout().to(Phase.SHADOW, NOW)
    canary = shadow.to(Phase.CANARY, NOW, share=0.1, metrics={"shadow": {"rows": 5}})
    promoted = canary.to(Phase.PROMOTED, NOW)

    assert [one.under_way for one in (shadow, canary, promoted)] == [True, True, False]
    assert (canary.share, promoted.share) == (0.1, 0.0)
    assert promoted.metrics == {"shadow": {"rows": 5}}


@pytest.mark.parametrize(("before", "after"), list(product(Phase, Phase)))
def test_no_phase_is_entered_but_from_one_it_may_follow(before: Phase, after: Phase) -> None:
    if after in NEXT.get(before, ()):
        assert rollout(before).to(after, NOW).phase is after
    else:
        with pytest.raises(ValueError, match=f"a rollout that is {before} cannot become {after}"):
            rollout(before).to(after, NOW)


def test_what_has_ended_stays_ended() -> None:
    ends = {phase for phase in Phase if phase not in NEXT}

    assert ends == {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED}
    assert all(ends <= following for following in NEXT.values())


@pytest.mark.parametrize(
    "wish", [{"share": 1.1}, {"share": -0.1}, {"shadow_rows": -1}, {"speed": 1}, {"limits": {"x": 1}}]
)
def test_a_plan_that_makes_no_sense_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(wish)
