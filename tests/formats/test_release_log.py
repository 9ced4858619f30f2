"""The log in a releases folder: of two writers one wins, and readers find the newest entry, however it is listed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from formats.release import Release, ReleaseEvent
from formats.release_log import DamagedError, ReleaseLog
from formats.replica_report import Lease, ReplicaReport
from stores.store import open_store


class Objects:
    """A releases folder whose answers can be changed, by name of what is asked."""

    def __init__(self, folder: Path, **instead: Callable[..., Any]) -> None:
        self.real = open_store(str(folder))
        self.instead = instead
        self.seen: list[tuple[str, ...]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.real, name)

        def asked(*given: Any) -> Any:
            self.seen.append((name, *(one for one in given if isinstance(one, str))))
            instead = self.instead.get(name)
            return instead(real, *given) if instead else real(*given)

        return asked


def release(id: str) -> Release:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    return Release(id=id, at=at, event=ReleaseEvent.DEPLOYED, version="7", use_case="ice_cream")


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


@pytest.fixture
def log(objects: Objects) -> ReleaseLog:
    return ReleaseLog(objects, "ice_cream")


def test_a_log_begins_empty(log: ReleaseLog) -> None:
    assert (log.last(), log.tail(), log.entry(1)) == (0, (0, None), None)


def test_entries_are_counted_from_one_and_the_newest_is_found(log: ReleaseLog) -> None:
    assert [log.append(number, release(str(number))) for number in (1, 2, 3)] == [True] * 3

    assert log.entry(2) == release("2")
    assert log.tail() == (3, release("3"))


def test_of_two_writers_one_wins_and_the_other_is_told(log: ReleaseLog, objects: Objects) -> None:
    assert log.append(1, release("first"))
    assert not log.append(1, release("second"))
    assert log.tail() == (1, release("first"))


def test_of_many_writers_at_once_one_wins(tmp_path: Path) -> None:
    together = Barrier(8)

    def write(id: str) -> bool:
        log = ReleaseLog(open_store(str(tmp_path)), "ice_cream")
        together.wait()
        return log.append(1, release(id))

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(write, "abcdefgh"))

    assert won.count(True) == 1
    assert ReleaseLog(open_store(str(tmp_path)), "ice_cream").entry(1) == release("abcdefgh"[won.index(True)])


def test_a_writer_whose_answer_was_lost_reads_back_that_it_won(log: ReleaseLog, objects: Objects) -> None:
    # Given a store that does what it is asked, and then does not answer
    def lost(real: Callable[..., bool], *given: Any) -> bool:
        real(*given)
        raise ConnectionError("lost")

    objects.instead["create"] = lost

    # Then the entry is there, and its writer knows; so does one who is told that something is there already
    assert log.append(1, release("mine"))
    objects.instead["create"] = lambda real, *given: False
    assert log.append(1, release("mine"))


def test_a_writer_whose_entry_never_arrived_is_told_so(log: ReleaseLog, objects: Objects) -> None:
    def broken(real: Callable[..., bool], *given: Any) -> bool:
        raise ConnectionError("no way")

    objects.instead["create"] = broken
    with pytest.raises(ConnectionError):
        log.append(1, release("mine"))
    assert log.tail() == (0, None)


def test_the_tail_is_found_though_a_listing_is_late(log: ReleaseLog, objects: Objects) -> None:
    for number in (1, 2, 3):
        log.append(number, release(str(number)))

    # When the store lists only the first of three entries, Then the others are found all the same
    objects.instead["tags"] = lambda real, *given: list(real(*given))[:1]
    assert log.tail() == (3, release("3"))

    # When it lists none, Then they are found by one that is known
    objects.instead["tags"] = lambda real, *given: []
    assert log.tail(1) == (3, release("3"))


def test_a_listing_begins_at_what_is_known(log: ReleaseLog, objects: Objects) -> None:
    for number in (1, 2, 3):
        log.append(number, release(str(number)))

    assert log.tail(2) == (3, release("3"))
    assert ("tags", "ice_cream/log", "0000000002.json") in objects.seen


def test_what_is_no_entry_does_not_count(log: ReleaseLog, objects: Objects) -> None:
    log.append(1, release("1"))
    for name in ("notes.txt", "0000000009.json.bak", "x.json"):
        objects.real.replace(f"ice_cream/log/{name}", b"")

    assert log.last() == 1


@pytest.mark.parametrize(
    ("content", "where"), [(b"", "JSON"), (b'{"id": "x"}', "at"), (b'{"id": 7, "at": "soon"}', "id"), (b"\xff", "JSON")]
)
def test_a_damaged_entry_is_named_with_what_is_wrong(
    log: ReleaseLog, objects: Objects, content: bytes, where: str
) -> None:
    log.append(1, release("1"))
    objects.real.replace("ice_cream/log/0000000002.json", content)

    with pytest.raises(DamagedError) as damaged:
        log.tail()

    assert str(damaged.value) == f"ice_cream/log/0000000002.json is damaged ({where}); correct or restore it"


# Reports and the lease


def test_what_replicas_say_is_read_without_those_that_cannot_be(log: ReleaseLog, objects: Objects) -> None:
    said = [ReplicaReport(replica=name, at=1.0, every=2.0, entry=3) for name in "ab"]
    for one in said:
        log.report(one)
    objects.real.replace("ice_cream/replicas/c.json", b"{")

    assert list(log.reports()) == said
    log.forget("a")
    assert list(log.reports()) == said[1:]


def test_a_report_that_goes_while_they_are_read_is_left_out(log: ReleaseLog, objects: Objects) -> None:
    log.report(ReplicaReport(replica="a", at=1.0, every=2.0, entry=3))

    def gone(real: Callable[..., bytes], *given: Any) -> bytes:
        objects.real.delete(given[0])
        return bytes(real(*given))

    objects.instead["read"] = gone
    assert list(log.reports()) == []


def test_the_lease_is_what_was_written_last_and_none_before(log: ReleaseLog, objects: Objects) -> None:
    assert log.lease() is None
    log.renew(Lease("one", 1, 15.0))
    log.renew(Lease("one", 2, 15.0))

    assert log.lease() == Lease("one", 2, 15.0)
    objects.real.replace("ice_cream/lease.json", b"{")
    assert log.lease() is None
