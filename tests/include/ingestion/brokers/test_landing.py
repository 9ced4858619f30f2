from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.errors import LakeError
from include.ingestion.brokers.broker import BrokerError, Message, Received
from include.ingestion.brokers.landing import SEGMENT_BYTES, LandingBroker
from include.storage.store import open_store
from stores.store import Store

TOPIC = "a1"


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A folder, and a bucket behind an S3 API."""
    if request.param == "folder":
        yield open_store(str(tmp_path / "landing"))
    else:
        bucket = request.getfixturevalue("bucket")
        yield open_store(f"s3://{bucket}/landing", s3_endpoint=request.getfixturevalue("s3_endpoint"))


@pytest.fixture
def broker(store: Store) -> LandingBroker:
    return LandingBroker(store)


def messages(count: int, begin: int = 0) -> list[Message]:
    return [Message(f"key-{n % 7}".encode(), f"{n}".encode(), "a1/1") for n in range(begin, begin + count)]


def read(broker: LandingBroker, limit: int = 1000, **positions: int) -> list[Received]:
    consumer = broker.consumer(TOPIC, "readers")
    consumer.seek({int(name.removeprefix("p")): offset for name, offset in positions.items()})
    found: list[Received] = []
    while more := consumer.poll(limit, 0.0):
        assert len(more) <= limit
        found += more
    assert consumer.caught_up()
    return found


def test_what_is_sent_is_read_in_order_within_a_key(broker: LandingBroker) -> None:
    for begin in range(0, 100, 25):
        assert broker.producer(TOPIC).send(messages(25, begin)) == 25
    received = read(broker, limit=8)
    assert sorted(int(message.value) for message in received) == list(range(100))
    for key in range(7):
        of_key = [int(message.value) for message in received if int(message.value) % 7 == key]
        assert of_key == sorted(of_key)


def test_offsets_count_up_by_one_and_reading_begins_at_any_of_them(broker: LandingBroker) -> None:
    for begin in range(0, 60, 20):
        broker.producer(TOPIC).send(messages(20, begin))
    everything = {(m.partition, m.offset): m.value for m in read(broker)}
    ends = {p: 1 + max(offset for q, offset in everything if q == p) for p in {p for p, _ in everything}}
    assert sorted(everything) == [(p, offset) for p in sorted(ends) for offset in range(ends[p])]
    for start in range(0, ends[0] + 1, 3):
        found = read(broker, p0=start, p1=ends[1])
        assert [(0, m.offset) for m in found] == [(0, offset) for offset in range(start, ends[0])]
        assert all(everything[0, m.offset] == m.value for m in found)


def test_the_segments_are_named_as_kafka_connects_sinks_name_theirs(broker: LandingBroker) -> None:
    # Given what an object sink has written
    broker.store.replace("topics/a1/partition=5/a1+5+0000000007.json", b'{"a":1}\n{"a":2}\n')
    # Then it is read as it is, with the offsets its name tells
    assert read(broker) == [Received(5, 7, b'{"a":1}'), Received(5, 8, b'{"a":2}')]
    # And ours look the same
    broker.producer("a2").send(messages(3))
    names = list(broker.store.names("topics/a2"))
    segments = {"topics/a2/partition=0/a2+0+0000000000.json", "topics/a2/partition=1/a2+1+0000000000.json"}
    assert set(names) & segments
    # But for the one file that says which log this is
    assert set(names) - segments == {"topics/a2/_log"}


@pytest.mark.slow
def test_producers_at_once_neither_lose_nor_overwrite(broker: LandingBroker) -> None:
    # Given several producers that write to one topic at once
    def produce(number: int) -> None:
        producer = broker.producer(TOPIC)
        for begin in range(0, 50, 10):
            producer.send(messages(10, begin=number * 1000 + begin))

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then everything is there once
    wanted = sorted(number * 1000 + n for number in range(4) for n in range(50))
    assert sorted(int(message.value) for message in read(broker)) == wanted


def test_a_send_whose_answer_was_lost_is_not_doubled_by_trying_again(broker: LandingBroker) -> None:
    # Given a producer whose segment was stored while it heard of a failure
    broker.producer(TOPIC).send(messages(5))
    stored = len(read(broker))
    forgetful = broker.producer(TOPIC)
    forgetful._next = {0: 0, 1: 0}
    # When it sends the very same again, believing it to be the first
    forgetful.send(messages(5))
    # Then it is recognised
    assert len(read(broker)) == stored


def test_a_message_with_a_newline_cannot_be_sent(broker: LandingBroker) -> None:
    with pytest.raises(BrokerError, match="newline"):
        broker.producer(TOPIC).send([Message(b"k", b"two\nlines", "a1/1")])
    assert list(broker.store.names("topics")) == []


def test_an_empty_line_is_a_message_too(broker: LandingBroker) -> None:
    broker.producer(TOPIC).send([Message(b"k", b"", "a1/1"), Message(b"k", b"x", "a1/1")])
    assert [message.value for message in read(broker)] == [b"", b"x"]


def test_large_sends_are_cut_into_segments_that_fit_in_memory(tmp_path: Path) -> None:
    broker = LandingBroker(open_store(str(tmp_path)), partitions=1)
    line = b"x" * 1000
    broker.producer(TOPIC).send(Message(b"k", line, "a1/1") for _ in range(10_000))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.json")]
    assert len(sizes) == 3
    assert max(sizes) <= SEGMENT_BYTES + len(line) + 1
    assert len(read(broker)) == 10_000


def test_a_read_that_fails_half_way_skips_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a reader whose store fails after the first partition was read
    store = open_store(str(tmp_path / "landing"))
    LandingBroker(store).producer(TOPIC).send(messages(50))
    consumer = LandingBroker(store).consumer(TOPIC, "readers")
    read_whole = store.read

    def fail_once(name: str) -> bytes:
        if "partition=1" in name:
            monkeypatch.setattr(store, "read", read_whole)
            raise LakeError("lake: cannot read: Input/output error")
        return read_whole(name)

    monkeypatch.setattr(store, "read", fail_once)
    # When it reads, then it is given what the other partition has
    first = consumer.poll(1000, 0.0)
    assert {message.partition for message in first} == {0}
    # And the next read hands out the rest
    assert sorted(int(message.value) for message in [*first, *consumer.poll(1000, 0.0)]) == list(range(50))


def test_a_segment_that_one_listing_lacks_is_waited_for_and_read_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given three segments, and a folder that lists the first and the last of them
    store = open_store(str(tmp_path))
    broker = LandingBroker(store, partitions=1)
    for begin in (0, 10, 20):
        broker.producer(TOPIC).send(messages(10, begin))
    names = store.names
    monkeypatch.setattr(store, "names", lambda prefix: (name for name in names(prefix) if "0000000010" not in name))
    consumer = broker.consumer(TOPIC, "readers")
    # When a reader comes to the gap, then it goes no further, and has not seen the end
    assert [message.offset for message in consumer.poll(100, 0.0)] == list(range(10))
    assert list(consumer.poll(100, 0.0)) == []
    assert not consumer.caught_up()
    # And when the folder lists all again, then nothing is left out
    monkeypatch.undo()
    consumer.bounds()
    assert [message.offset for message in consumer.poll(100, 0.0)] == list(range(10, 30))
    assert list(consumer.poll(100, 0.0)) == []
    assert consumer.caught_up()


def test_a_segment_that_is_gone_for_good_holds_a_reader_up_for_a_while_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given three segments, of which the second was deleted
    monkeypatch.setattr("include.ingestion.brokers.landing.GAP_SECONDS", 0.05)
    broker = LandingBroker(open_store(str(tmp_path)), partitions=1)
    for begin in (0, 10, 20):
        broker.producer(TOPIC).send(messages(10, begin))
    (tmp_path / "topics" / TOPIC / "partition=0" / f"{TOPIC}+0+0000000010.json").unlink()
    # When a reader reads to the end
    consumer, found = broker.consumer(TOPIC, "readers"), []
    while (more := consumer.poll(100, 0.1)) or not consumer.caught_up():
        found += [message.offset for message in more]
    # Then it has the others, and the loss is told
    assert found == [*range(10), *range(20, 30)]
    assert "partition 0 has no offsets from 10 to 19" in caplog.text


def test_a_folder_that_cannot_be_used_is_an_error_not_an_empty_topic(tmp_path: Path) -> None:
    (tmp_path / "landing").write_text("no folder")
    with pytest.raises(BrokerError, match="landing: lake: cannot write"):
        LandingBroker(open_store(str(tmp_path / "landing"))).producer(TOPIC).send(messages(1))


def test_old_segments_go_once_every_group_has_left_them_behind(tmp_path: Path) -> None:
    # Given four segments, one group that has read three of them and one that has read two and a half
    broker = LandingBroker(open_store(str(tmp_path)), partitions=1)
    for begin in range(0, 40, 10):
        broker.producer(TOPIC).send(messages(10, begin))
    now = datetime.now(UTC)
    assert broker.expire(TOPIC, now + timedelta(seconds=5)) == 0  # while nobody has read anything
    _commit(broker, "ahead", 30)
    _commit(broker, "behind", 25)
    # When segments are to go, then those that are too young stay
    assert broker.expire(TOPIC, now - timedelta(days=1)) == 0
    # And of the others those that both have left behind go; both read on where they were
    assert broker.expire(TOPIC, now + timedelta(seconds=5)) == 2
    assert [message.offset for message in read(broker, p0=25)] == list(range(25, 40))
    # And the last segment stays when all is read, so that offsets go on
    _commit(broker, "ahead", 40)
    _commit(broker, "behind", 40)
    assert broker.expire(TOPIC, now + timedelta(seconds=5)) == 1
    broker.producer(TOPIC).send(messages(1))
    assert read(broker)[-1].offset == 40


def _commit(broker: LandingBroker, group: str, offset: int) -> None:
    consumer = broker.consumer(TOPIC, group)
    consumer.commit({0: offset})
    consumer.close()


def test_segments_in_a_bucket_go_too(broker: LandingBroker) -> None:
    for begin in range(0, 40, 20):
        broker.producer(TOPIC).send(messages(20, begin))
    ends = {message.partition: message.offset + 1 for message in read(broker)}
    consumer = broker.consumer(TOPIC, "readers")
    consumer.commit(ends)
    consumer.close()
    assert broker.expire(TOPIC, datetime.now(UTC) + timedelta(seconds=5)) == len(ends)
    assert {message.partition: message.offset + 1 for message in read(broker)} == ends


def test_a_producer_that_was_idle_for_long_does_not_write_where_segments_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a producer that another has overtaken, whose segments were read and have gone
    broker = LandingBroker(open_store(str(tmp_path)), partitions=1)
    idle = broker.producer(TOPIC)
    idle.send(messages(5))
    for begin in range(5, 20, 5):
        broker.producer(TOPIC).send(messages(5, begin))
    _commit(broker, "readers", 20)
    assert broker.expire(TOPIC, datetime.now(UTC) + timedelta(seconds=5)) == 3
    # When it sends again, hours later
    monkeypatch.setattr("include.ingestion.brokers.landing.REMEMBERED_SECONDS", 0.0)
    idle.send(messages(1, begin=99))
    # Then its message comes last
    assert [int(message.value) for message in read(broker, p0=20)] == [99]


def test_notes_are_not_written_for_every_commit_but_are_true_in_the_end(tmp_path: Path) -> None:
    broker = LandingBroker(open_store(str(tmp_path)))
    broker.producer(TOPIC).send(messages(50))
    consumer = broker.consumer(TOPIC, "readers")
    for offset in range(1, 50):
        consumer.commit({0: offset})
    note = tmp_path / "groups" / "readers" / TOPIC
    assert note.read_text().endswith("\n0 1\n")
    consumer.close()
    assert note.read_text().endswith("\n0 49\n")


def test_a_topic_that_is_not_there_is_not_one_that_has_been_read(broker: LandingBroker) -> None:
    consumer = broker.consumer("a9", "readers")
    assert consumer.log_id() is None
    assert consumer.poll(10, 0.0) == []
    with pytest.raises(BrokerError, match=r"topic a9 is away: there is nothing at .*topics/a9"):
        consumer.caught_up()
