from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from include.ingestion.breaker import Breaker, BreakerState


@given(st.integers(0, 1000), st.integers(1, 60))
def test_pauses_grow_and_never_exceed_what_bounds_the_return(seed: int, failures: int) -> None:
    breaker = Breaker(random=Random(seed))
    pauses = [breaker.failed() for _ in range(failures)]
    assert all(0.05 <= pause <= 1.5 for pause in pauses)
    assert all(pause >= 0.75 for pause in pauses[5:])


def test_the_circuit_opens_after_failures_in_a_row_and_closes_at_the_first_success() -> None:
    breaker = Breaker(threshold=3)
    seen = []
    for _ in range(4):
        breaker.failed()
        seen.append(breaker.circuit)
    assert seen == [BreakerState.CLOSED, BreakerState.CLOSED, BreakerState.OPEN, BreakerState.OPEN]
    breaker.succeeded()
    assert breaker.circuit is BreakerState.CLOSED
    assert breaker.opened == 1
    assert breaker.failed() <= breaker.shortest


def test_two_breakers_do_not_knock_in_step() -> None:
    one, other = Breaker(random=Random(1)), Breaker(random=Random(2))
    assert [one.failed() for _ in range(5)] != [other.failed() for _ in range(5)]
