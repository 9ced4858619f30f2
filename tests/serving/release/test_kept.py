from __future__ import annotations

from pathlib import Path

import pytest

from formats.release import OnTrial, Release, ReleaseEvent
from formats.rollout_plan import Phase, Plan
from serving.release.kept import ENTRY, Kept, KeptEntry, kept_use_cases
from tests.serving.release.rehearsal import AT, USE_CASE, version


def release(**changes: object) -> Release:
    found = Release(id="a", at=AT, event=ReleaseEvent.DEPLOYED, version="7", use_case=USE_CASE, serving=version(7))
    return found.model_copy(update=changes)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path, USE_CASE)


def file(folder: Path, number: int) -> Path:
    return folder / "models" / USE_CASE / f"{version(number).sha256}.onnx"


def never() -> bytes:
    raise AssertionError("it was fetched again")


def test_a_new_disk_keeps_nothing(kept: Kept, tmp_path: Path) -> None:
    assert kept.entry() is None
    assert kept_use_cases(tmp_path) == []


def test_an_entry_and_its_number_are_kept(kept: Kept, tmp_path: Path) -> None:
    kept.note(3, release())

    assert kept.entry() == KeptEntry(number=3, release=release())
    assert kept_use_cases(tmp_path) == [USE_CASE]


@pytest.mark.parametrize("content", [b"", b"{", b'{"number": 3}', b"\xff"])
def test_a_damaged_entry_counts_as_none(kept: Kept, tmp_path: Path, content: bytes) -> None:
    kept.note(3, release())
    (tmp_path / "models" / USE_CASE / ENTRY).write_bytes(content)

    assert kept.entry() is None


def test_a_file_is_fetched_once(kept: Kept) -> None:
    assert kept.content(version(7), lambda: b"model") == b"model"
    assert kept.content(version(7), never) == b"model"


def test_a_file_that_turned_out_to_be_damaged_is_fetched_again(kept: Kept) -> None:
    kept.content(version(7), lambda: b"half")
    kept.forget(version(7))

    assert kept.content(version(7), lambda: b"whole") == b"whole"


def test_files_that_no_entry_needs_are_removed(kept: Kept, tmp_path: Path) -> None:
    # Given files of seven versions
    for number in range(7):
        kept.content(version(number), lambda: b"model")

    # When an entry serves one, prepares another, tries a third, and can go back to two
    on_trial = OnTrial(id="t", entry=version(3), plan=Plan(), phase=Phase.SHADOW)
    before = (version(4), version(5))
    kept.note(9, release(serving=version(1), prepare=version(2), trial=on_trial, before=before))

    # Then the last of those two is kept, for a rollback, and the others are gone
    assert [number for number in range(7) if file(tmp_path, number).exists()] == [1, 2, 3, 5]


def test_use_cases_of_any_name_have_folders_of_their_own(tmp_path: Path) -> None:
    names = ["../above", "ice cream", "ü", "a/b"]
    for name in names:
        Kept(tmp_path, name).note(1, release(use_case=name))

    assert kept_use_cases(tmp_path) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_disk_that_takes_nothing_costs_a_warning_and_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a file where the folder should be
    (tmp_path / "state").write_text("in the way")
    kept = Kept(tmp_path / "state", USE_CASE)

    kept.note(1, release())

    assert kept.entry() is None
    assert kept.content(version(7), lambda: b"model") == b"model"
    assert kept_use_cases(tmp_path / "state") == []
    assert "cannot be written" in caplog.text
    assert "see SERVING_STATE" in caplog.text
