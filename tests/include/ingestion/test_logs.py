"""Offsets are a log's, not a name's: another log is read from its start, and nothing is passed over in silence."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from include.database import migrate
from include.errors import LakeError, SettingsError
from include.ingestion.brokers.broker import Message
from include.ingestion.brokers.landing import LandingBroker
from include.ingestion.ledger import Ledger
from include.ingestion.workers import Worker, WorkerSpec
from include.storage.store import open_store
from include.use_cases.flight_delay.streams import FLIGHT_STREAM
from tests.include.ingestion.site import Site, consumer, shift_until

pytestmark = pytest.mark.stack
Messages = dict[str, list[Message]]
Work = Callable[..., Worker]


@pytest.fixture
def work(site: Site, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Works a shift of worker 2 in this process."""
    monkeypatch.setattr("include.ingestion.workers.SECOND_LOOK_SECONDS", 0.05)

    def shift(over: Callable[[Worker], object] = lambda _: False, *, drain: bool = True) -> Worker:
        worker = Worker(
            WorkerSpec("worker_2", "a2", 100), Ledger(site.url, consumer("worker_2"), FLIGHT_STREAM), site.broker
        )
        worker.work(shift_until(lambda: over(worker)), drain=drain)
        return worker

    return shift


@pytest.fixture
def parts(messages: Messages) -> list[list[Message]]:
    """Three stretches of flight records."""
    return [messages["a2"][first : first + 150] for first in (0, 150, 300)]


def moved(site: Site, folder: Path) -> None:
    site.broker = LandingBroker(open_store(str(folder)))


def test_another_landing_folder_is_read_from_its_start_and_told(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a shift that has drained a topic
    site.publish("a2", parts[0])
    assert work().tally.drained
    # When NIGHTSHIFT_BROKER names another folder, with as many records of another day
    moved(site, tmp_path / "second")
    site.publish("a2", parts[1])
    tally = work().tally
    # Then all of them are stored, and the change is told
    assert (tally.messages, tally.drained) == (len(parts[1]), True)
    assert "topic a2 is another log than before" in caplog.text
    site.everything_is_stored("a2")


def test_a_topic_that_was_removed_and_made_again_is_read_from_its_start(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path
) -> None:
    site.publish("a2", parts[0])
    work()
    shutil.rmtree(tmp_path / "landing" / "topics" / "a2")
    site.publish("a2", parts[1])
    assert work().tally.messages == len(parts[1])
    site.everything_is_stored("a2")


def test_whoever_comes_back_to_a_log_goes_on_where_it_was(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path
) -> None:
    # Given two logs that were read one after the other
    site.publish("a2", parts[0])
    work()
    moved(site, tmp_path / "second")
    site.publish("a2", parts[1])
    work()
    # When the first is the broker again and has more
    moved(site, tmp_path / "landing")
    site.publish("a2", parts[2])
    # Then only that is read
    assert work().tally.messages == len(parts[2])
    site.everything_is_stored("a2")


def test_a_log_that_is_replaced_within_a_shift_is_read_from_its_start(
    site: Site, parts: list[list[Message]], tmp_path: Path
) -> None:
    # Given a worker that has read a topic and waits for more
    site.publish("a2", parts[0])
    worker = site.start("worker_2", drain=False)
    _wait_for(site, len(parts[0]))
    # When a longer log takes the topic's place
    moved(site, tmp_path / "second")
    site.publish("a2", [*parts[1], *parts[2]])
    (tmp_path / "landing").rename(tmp_path / "first")
    (tmp_path / "second").rename(tmp_path / "landing")
    moved(site, tmp_path / "landing")
    # Then it is read in whole
    site.wait_until_stored("a2")
    assert worker.is_over().broker_errors
    site.everything_is_stored("a2")


def _wait_for(site: Site, offsets: int) -> None:
    with psycopg.connect(site.url, autocommit=True) as session:
        while session.execute("SELECT coalesce(sum(next_offset), 0) FROM consumer_offsets").fetchone() != (offsets,):
            pass


def test_a_log_that_ends_before_what_was_read_of_it_is_read_again_and_told(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a log whose newest part was lost after it was read, as by a restored backup
    site.broker = LandingBroker(open_store(str(tmp_path / "landing")), partitions=1)
    poison = Message(b"key", b"no JSON", "a2/1")
    site.publish("a2", [*parts[0], poison])
    site.publish("a2", parts[1])
    work()
    newest = max((tmp_path / "landing" / "topics" / "a2" / "partition=0").glob("*.json"))
    newest.unlink()
    # When others write where it was, less than that
    site.publish("a2", parts[2][:100])
    tally = work().tally
    # Then what they wrote is not passed over, and no dead letter is doubled
    assert tally.begun_again == 1
    assert "it was cut or restored; it is read from its start again" in caplog.text
    site.everything_is_stored("a2")
    assert work().tally.messages == 0


def test_what_was_deleted_before_it_was_read_is_told_and_counted(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a log of three segments, of which the first is read, and the second deleted
    site.broker = LandingBroker(open_store(str(tmp_path / "landing")), partitions=1)
    site.publish("a2", parts[0])
    work()
    for part in parts[1:]:
        site.publish("a2", part)
    first, second, _ = sorted((tmp_path / "landing" / "topics" / "a2" / "partition=0").glob("*.json"))
    first.unlink()
    second.unlink()
    # When the next shift reads the third
    tally = work().tally
    # Then it says what it never saw
    assert (tally.messages, tally.gone) == (150, 150)
    assert "topic a2, partition 0: 150 offsets from 150 on are gone from the log, unread" in caplog.text


def test_offsets_from_before_logs_had_names_count_for_the_log_that_is_there(
    site: Site, work: Work, parts: list[list[Message]], caplog: pytest.LogCaptureFixture
) -> None:
    # Given tables of the revision before, with a topic half read
    site.publish("a2", parts[0])
    work()
    migrate.downgrade(site.url, "0003")
    migrate.upgrade(site.url)
    site.publish("a2", parts[1])
    # When the next shift comes
    tally = work().tally
    # Then it goes on where it was
    assert tally.messages == len(parts[1])
    assert "offsets in topic a2 that name no log count for" in caplog.text
    site.everything_is_stored("a2")


def test_going_back_a_revision_keeps_the_offsets_of_the_log_that_was_read_last(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path
) -> None:
    site.publish("a2", [*parts[0], *parts[1]])
    work()
    moved(site, tmp_path / "second")
    site.publish("a2", parts[2])
    work()
    migrate.downgrade(site.url, "0003")
    with psycopg.connect(site.url) as session:
        assert session.execute("SELECT sum(next_offset) FROM consumer_offsets").fetchone() == (len(parts[2]),)


def test_a_topic_with_offsets_that_is_away_is_waited_for_and_a_fault(
    site: Site, work: Work, parts: list[list[Message]], tmp_path: Path
) -> None:
    # Given a topic that was read, in a folder that is not there when a shift begins
    site.publish("a2", parts[0])
    work()
    aside = (tmp_path / "landing").rename(tmp_path / "aside")
    moved(site, tmp_path / "landing")  # as another process opens it
    # When a shift is to drain it, and is over once it has met that, then it says what it waited for
    worker = work(lambda worker: worker.trouble)
    assert not worker.tally.drained
    assert worker.trouble.startswith("topic a2 is away: it was read before")
    # And an empty folder in its place, as of a mount that is away, is no other log
    (tmp_path / "landing").mkdir()
    assert work(lambda worker: worker.trouble).trouble.startswith("topic a2 is away: it was read before")
    # And the next shift after its return goes on
    (tmp_path / "landing").rmdir()
    aside.rename(tmp_path / "landing")
    site.publish("a2", parts[1])
    assert work().tally.messages == len(parts[1])


def test_a_topic_that_never_was_is_waited_for_unless_the_shift_ends_with_the_last_message(
    site: Site, work: Work, parts: list[list[Message]], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SettingsError, match=r"there is no topic a2 at .*; start its collector"):
        work()
    assert work(lambda _: "there is no topic a2 at" in caplog.text, drain=False).trouble == ""
    assert "there is no topic a2 at" in caplog.text
    worker = site.start("worker_2", drain=False)
    site.publish("a2", parts[0])
    site.wait_until_stored("a2")
    assert worker.is_over().messages == len(parts[0])


# The identity of a landing folder


def test_of_many_who_name_an_old_folders_log_one_counts(tmp_path: Path) -> None:
    # Given a folder that was written before logs had names, or by another program
    broker = LandingBroker(open_store(str(tmp_path)))
    broker.producer("a1").send([Message(b"k", b"x", "a1/1")])
    (tmp_path / "topics" / "a1" / "_log").unlink()
    # When readers and producers meet it at once
    found: list[str | None] = []
    ask = [broker.consumer("a1", f"group-{n}").log_id for n in range(8)]
    threads = [threading.Thread(target=lambda one=one: found.append(one())) for one in ask]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then they agree, now and later
    assert len(found) == len(ask)
    assert {*found, broker.consumer("a1", "later").log_id()} == {found[0]}


def test_a_log_that_may_only_be_read_goes_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    store.replace("topics/a1/partition=0/a1+0+0000000000.json", b"x\n")

    def refuse(name: str, content: bytes) -> bool:
        raise LakeError("lake: cannot write: Read-only file system") from OSError(30, "Read-only file system")

    monkeypatch.setattr(store, "create", refuse)
    assert LandingBroker(store).consumer("a1", "readers").log_id() == store.uri("topics/a1")


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"two\nlines\n"])
def test_whatever_a_file_of_that_name_holds_is_an_identity(tmp_path: Path, content: bytes) -> None:
    store = open_store(str(tmp_path))
    store.replace("topics/a1/_log", content)
    found = LandingBroker(store).consumer("a1", "readers").log_id()
    assert found is not None
    assert found.isalnum()


def test_no_segment_goes_for_what_a_group_has_read_of_another_log(tmp_path: Path) -> None:
    # Given a group that had read much of a topic that was made again since
    broker = LandingBroker(open_store(str(tmp_path)), partitions=1)

    def fill() -> None:
        for number in range(3):
            broker.producer("a1").send([Message(b"k", f"{number}".encode(), "a1/1")] * 10)

    fill()
    reader = broker.consumer("a1", "readers")
    reader.commit({0: 30})
    reader.close()
    shutil.rmtree(tmp_path / "topics")
    fill()
    soon = datetime.now(UTC) + timedelta(seconds=5)
    # Then nothing of it is deleted before the group has read it
    assert broker.expire("a1", soon) == 0
    (tmp_path / "groups" / "strangers").mkdir()
    (tmp_path / "groups" / "strangers" / "a1").write_bytes(b"\xff no note\n1 2 3")
    reader = broker.consumer("a1", "readers")
    reader.commit({0: 30})
    reader.close()
    assert broker.expire("a1", soon) == 0
    (tmp_path / "groups" / "strangers" / "a1").unlink()
    assert broker.expire("a1", soon) == 2
