from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.release.recent import LARGEST_BYTES, Recent


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=60), st.integers(30, 200))
def test_the_newest_bodies_are_kept_within_the_bytes_allowed(bodies: list[bytes], allowed: int) -> None:
    recent = Recent(kept_bytes=allowed)
    for body in bodies:
        recent.put(body)

    taken = []
    while (newest := recent.take()) is not None:
        taken.append(newest)

    assert sum(map(len, taken)) <= allowed
    assert taken == bodies[::-1][: len(taken)]
    assert len(taken) == len(bodies) or sum(map(len, bodies[::-1][: len(taken) + 1])) > allowed
    assert len(recent) == 0


def test_a_body_too_large_for_a_bite_is_not_kept() -> None:
    recent = Recent()
    recent.put(b"x" * (LARGEST_BYTES + 1))

    assert recent.take() is None
