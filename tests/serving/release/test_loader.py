from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from formats.portable_model import ModelError
from formats.release import InService
from formats.request_rows import RequestModel
from serving.errors import FetchError
from serving.release.kept import Kept
from serving.release.loader import LONGEST_RETRY_SECONDS, Loader, load_from
from serving.settings import ServingSettings
from tests.portable_files import portable_bytes, write
from tests.serving.release.rehearsal import AT, USE_CASE, model, version
from tests.waiting import until

SEVEN, EIGHT = version(7), version(8)


class Desk:
    """A loader over a function of the test, and the clock it goes by."""

    def __init__(self, load: Callable[[InService], RequestModel], seconds: float = 30.0) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self._load = load
        self.loader = Loader(self._noted, seconds, clock=lambda: self.now)

    def want(self, *entries: InService) -> None:
        self.loader.want({entry.sha256: entry for entry in entries})

    def until(self, true: Callable[[], object], *entries: InService) -> None:
        """Look again and again until it is so."""

        def looked() -> object:
            self.want(*entries)
            return true()

        until(looked)

    @property
    def busy(self) -> bool:
        """Whether something is being loaded."""
        return any(thread.name.startswith("load ") for thread in threading.enumerate())

    def _noted(self, entry: InService) -> RequestModel:
        self.asked.append(entry.version)
        return self._load(entry)


def test_a_wanted_file_is_loaded_once_and_forgotten_when_it_is_no_longer_wanted() -> None:
    desk = Desk(lambda entry: model(int(entry.version)))
    desk.want(SEVEN)
    desk.until(lambda: desk.loader.model(SEVEN.sha256), SEVEN)

    for _ in range(3):
        desk.want(SEVEN)
    assert (desk.loader.model(SEVEN.sha256), desk.asked) == (model(7), ["7"])

    desk.want()
    assert desk.loader.model(SEVEN.sha256) is None


def test_what_could_not_be_loaded_is_tried_again_after_a_growing_pause() -> None:
    # Given a store that is away
    def away(entry: InService) -> RequestModel:
        raise FetchError(f"{entry.uri}: there is no such file")

    desk = Desk(away)
    gaps = []
    for times in range(1, 12):
        began = desk.now
        while len(desk.asked) < times:
            desk.now += 0.25
            desk.until(lambda: not desk.busy, SEVEN)
        gaps.append(desk.now - began)

    assert gaps[0] <= 0.75
    assert gaps[-1] > 10 * gaps[1]
    assert max(gaps) <= LONGEST_RETRY_SECONDS + 0.5
    # What is told of it has no address, and no word that it is final
    assert desk.loader.error(SEVEN.sha256) == "version 7 cannot be loaded: …: there is no such file"
    assert not desk.loader.refused(SEVEN.sha256)


def test_a_file_that_is_wrong_in_itself_is_refused_until_another_one_is_wanted() -> None:
    def wrong(entry: InService) -> RequestModel:
        raise ModelError("SHA-256 is another")

    desk = Desk(wrong)
    desk.until(lambda: desk.loader.refused(SEVEN.sha256), SEVEN)
    assert desk.loader.error(SEVEN.sha256) == "version 7 cannot be loaded: SHA-256 is another"

    desk.want(EIGHT)
    assert (desk.loader.refused(SEVEN.sha256), desk.loader.error(SEVEN.sha256)) == (False, "")


def test_a_fault_in_loading_is_told_by_its_name_only() -> None:
    def breaks(entry: InService) -> RequestModel:
        raise ZeroDivisionError("with a secret")

    desk = Desk(breaks)
    desk.until(lambda: desk.loader.error(SEVEN.sha256), SEVEN)

    expected = "version 7 cannot be loaded: ZeroDivisionError; the server's log has more"
    assert desk.loader.error(SEVEN.sha256) == expected


def test_a_file_that_never_ends_counts_as_failed_and_holds_no_other_up() -> None:
    # Given a file whose loading does not end
    over = threading.Event()

    def load(entry: InService) -> RequestModel:
        if entry is SEVEN:
            over.wait()
        return model(int(entry.version))

    desk = Desk(load, seconds=30.0)
    desk.want(SEVEN, EIGHT)
    desk.until(lambda: desk.loader.model(EIGHT.sha256), SEVEN, EIGHT)
    assert desk.loader.error(SEVEN.sha256) == ""

    # When its time is up, Then that is said, and no second attempt runs beside the first
    desk.now = 31.0
    desk.want(SEVEN, EIGHT)
    assert desk.loader.error(SEVEN.sha256) == "version 7 cannot be loaded: it did not load within 30 s"
    desk.now = 500.0
    desk.want(SEVEN, EIGHT)
    assert desk.asked.count("7") == 1

    # When it ends after all, Then it counts
    over.set()
    desk.until(lambda: desk.loader.model(SEVEN.sha256), SEVEN, EIGHT)
    assert desk.loader.error(SEVEN.sha256) == ""


# How a file is loaded


def entry(uri: str, sha256: str, use_case: str = USE_CASE) -> InService:
    return InService(version="7", sha256=sha256, uri=uri, use_case=use_case, since=AT)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[InService], RequestModel]:
    settings = ServingSettings(lake=str(tmp_path / "lake"))
    return load_from(settings, Kept(tmp_path / "state", USE_CASE))


def test_a_whole_file_is_loaded_and_later_found_on_the_disk(
    load: Callable[[InService], RequestModel], tmp_path: Path
) -> None:
    uri, sha256 = write(tmp_path, portable_bytes())
    assert load(entry(uri, sha256)).sha256 == sha256

    (tmp_path / f"{sha256}.onnx").unlink()
    assert load(entry(uri, sha256)).sha256 == sha256


def test_a_kept_file_that_is_damaged_is_fetched_again(
    load: Callable[[InService], RequestModel], tmp_path: Path
) -> None:
    uri, sha256 = write(tmp_path, portable_bytes())
    load(entry(uri, sha256))
    kept = tmp_path / "state" / "models" / USE_CASE / f"{sha256}.onnx"
    kept.write_bytes(kept.read_bytes()[:100])

    assert load(entry(uri, sha256)).sha256 == sha256


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (portable_bytes()[:200], "not a whole ONNX file"),
        (portable_bytes(output="Identity", bias=float("nan")), "self-test failed"),
        (portable_bytes(use_case="other"), "is of use case 'other', not 'flight_delay'"),
    ],
)
def test_a_file_that_is_wrong_is_told_how(
    load: Callable[[InService], RequestModel], tmp_path: Path, content: bytes, says: str
) -> None:
    uri, sha256 = write(tmp_path, content)

    with pytest.raises(ModelError, match=says) as refused:
        load(entry(uri, sha256))

    assert str(tmp_path) not in str(refused.value)
    assert hashlib.sha256(content).hexdigest() == sha256


def test_another_files_hash_is_refused(load: Callable[[InService], RequestModel], tmp_path: Path) -> None:
    uri, _ = write(tmp_path, portable_bytes())

    with pytest.raises(ModelError, match="SHA-256 is"):
        load(entry(uri, "0" * 64))


def test_a_file_that_is_not_there_may_come(load: Callable[[InService], RequestModel], tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="there is no such file"):
        load(entry((tmp_path / "gone.onnx").as_uri(), "0" * 64))
