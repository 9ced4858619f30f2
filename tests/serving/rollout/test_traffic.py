from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from serving.rollout.traffic import takes_part

SALT = st.text("0123456789abcdef", min_size=32, max_size=32)
KEY = st.text(max_size=40) | st.binary(max_size=40)


@given(key=KEY, salt=SALT, share=st.floats(0, 1))
def test_one_caller_is_always_on_one_side(key: str | bytes, salt: str, share: float) -> None:
    assert len({takes_part(key, salt, share) for _ in range(3)}) == 1


@given(key=KEY, salt=SALT, shares=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_whoever_takes_part_at_a_small_share_does_at_a_greater_one(
    key: str | bytes, salt: str, shares: list[float]
) -> None:
    sides = [takes_part(key, salt, share) for share in sorted(shares)]

    assert sides == sorted(sides)


@given(key=KEY, salt=SALT)
def test_no_share_is_nobody_and_the_whole_is_everybody(key: str | bytes, salt: str) -> None:
    assert not takes_part(key, salt, 0)
    assert takes_part(key, salt, 1)


@settings(max_examples=40, deadline=None)
@given(salt=SALT, share=st.floats(0.01, 0.99), prefix=st.text(max_size=8))
def test_the_share_is_kept_whatever_the_callers_are_called(salt: str, share: float, prefix: str) -> None:
    # Six standard deviations of a binomial share: a fair split breaks this about once in a billion.
    callers = 4_000
    found = sum(takes_part(f"{prefix}{number}", salt, share) for number in range(callers)) / callers

    assert abs(found - share) <= 6 * (share * (1 - share) / callers) ** 0.5


def test_other_callers_take_part_in_the_next_rollout() -> None:
    keys = [f"caller-{number}" for number in range(1000)]
    first, second = ({key for key in keys if takes_part(key, salt, 0.2)} for salt in ("a" * 32, "b" * 32))

    assert len(first & second) < 0.5 * len(first)
