from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from formats.release import KEPT, InService, OnTrial, Release, ReleaseEvent, TakenOut, without_addresses
from formats.rollout_plan import Phase, Plan

AT = datetime(2026, 11, 26, tzinfo=UTC)
NOTHING = Release(id="a", at=AT, event=ReleaseEvent.WITHDRAWN, version="", use_case="ice_cream")


def version(number: int) -> InService:
    since = AT + timedelta(days=number)
    uri = f"s3://models/{number}.onnx"
    return InService(version=str(number), sha256=f"{number:064x}", uri=uri, use_case="ice_cream", since=since)


def served(*numbers: int) -> Release:
    found = NOTHING
    for number in numbers:
        found = found.served(version(number))
    return found


def names(entries: tuple[InService, ...] | tuple[TakenOut, ...]) -> list[str]:
    return [one.entry.version if isinstance(one, TakenOut) else one.version for one in entries]


def test_what_served_before_can_be_gone_back_to_newest_last() -> None:
    release = served(1, 2, 3)

    assert release.serving == version(3)
    assert (names(release.before), release.taken_out) == (["1", "2"], ())


@pytest.mark.parametrize("ended", [ReleaseEvent.ROLLED_BACK, ReleaseEvent.RESTORED])
def test_what_was_rolled_back_is_taken_out_and_can_only_be_put_back_by_hand(ended: ReleaseEvent) -> None:
    # Given a version that is taken back
    release = served(1, 2).served(version(1), ended=ended, why="it is late")

    # Then it is remembered as taken out, and the one that serves again is not a thing to go back to
    assert (release.serving, names(release.before)) == (version(1), [])
    assert release.left("2") == TakenOut(entry=version(2), event=ended, why="it is late", at=version(1).since)
    assert release.known("2") == version(2)

    # When it is put back, Then it is no longer taken out
    again = release.served(version(2))
    assert (again.serving, again.left("2"), names(again.before)) == (version(2), None, ["1"])


def test_a_version_that_serves_ends_its_own_trial() -> None:
    on_trial = OnTrial(id="t", entry=version(2), plan=Plan(), phase=Phase.CANARY, share=0.1)
    release = served(1).model_copy(update={"trial": on_trial})
    assert release.under_way == version(2)

    promoted = release.served(version(2))

    assert (promoted.trial, promoted.under_way, promoted.serving) == (None, None, version(2))


def test_putting_the_served_version_into_service_again_keeps_what_was_before() -> None:
    assert names(served(1, 2, 2).before) == ["1"]


def test_no_more_than_so_many_versions_are_remembered() -> None:
    release = served(*range(KEPT + 3))
    for number in range(100, 100 + KEPT + 1):
        release = release.taking_out(version(number), ReleaseEvent.REJECTED, "no", AT)

    assert (len(release.before), len(release.taken_out)) == (KEPT, KEPT)
    assert names(release.before)[-1] == str(KEPT + 1)
    assert names(release.taken_out)[-1] == str(100 + KEPT)


def test_an_entry_survives_the_way_through_a_file() -> None:
    release = served(1, 2).taking_out(version(3), ReleaseEvent.REJECTED, "shadow: no", AT)
    release = release.model_copy(update={"metrics": {"shadow": {"rows": 5}}, "prepare": version(4)})

    assert Release.model_validate_json(release.model_dump_json(exclude_defaults=True)) == release


def test_a_replica_can_follow_a_later_release_that_says_more() -> None:
    said: dict[str, Any] = served(1).model_dump(mode="json") | {"region": "north"}
    said["serving"]["colour"] = "blue"

    assert Release.model_validate(said) == served(1)


def test_a_file_without_a_hash_is_no_version() -> None:
    with pytest.raises(ValidationError, match="sha256"):
        InService.model_validate(version(1).model_dump() | {"sha256": "none"})


def test_another_moment_in_service_is_the_same_file_and_another_file_is_not() -> None:
    later = version(1).model_copy(update={"since": AT + timedelta(days=9), "by": "someone"})

    assert later.same_file(version(1))
    assert not version(2).same_file(version(1))
    assert not version(1).same_file(None)


# What is told to somebody unknown


def test_an_unknown_caller_is_told_no_address_wherever_one_stands() -> None:
    on_trial = OnTrial(id="t", entry=version(5), plan=Plan(), phase=Phase.SHADOW)
    gone = TakenOut(entry=version(4), event=ReleaseEvent.REJECTED, why="s3://models/4.onnx: gone", at=AT)
    changes = {"trial": on_trial, "prepare": version(6), "taken_out": (gone,), "why": "of s3://models/7.onnx"}
    release = served(1, 2).model_copy(update=changes)

    assert release.told(known=True) == release
    assert "s3://" not in release.told(known=False).model_dump_json()
    assert release.told(known=False).serving == version(2).told(known=False)


@given(
    st.sampled_from(["s3", "file", "https", "gs", "abfss"]),
    st.from_regex(r"[a-z0-9/._-]{1,30}", fullmatch=True),
    st.text(),
)
def test_an_address_is_taken_out_of_any_line(scheme: str, rest: str, other: str) -> None:
    uri = f"{scheme}://x{rest}"

    assert uri not in without_addresses(f"it failed ({uri}): {other}", uri)
    assert f"x{rest}" not in without_addresses(f'could not connect to "{uri}x"', "")
