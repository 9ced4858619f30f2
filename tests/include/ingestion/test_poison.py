"""No record and no stray file stops a worker: a hundred thousand inputs, drawn from seeds, most of them poison."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.excerpt import printable
from include.ingestion.brokers.broker import Bounds, Message, Received
from include.ingestion.brokers.landing import LandingBroker
from include.ingestion.brokers.segments import TopicFolder
from include.ingestion.ledger import Batch, Ledger
from include.ingestion.streams import PoisonError, Stream
from include.ingestion.workers import Worker, WorkerSpec
from include.storage.store import open_store
from include.use_cases.flight_delay.streams import FLIGHT_STREAM, WEATHER_STREAM
from tests.include.ingestion.site import Site, consumer, shift_until
from tests.include.ingestion.test_streams import FLIGHT, OBSERVATION

SOUND = {"a1": WEATHER_STREAM.encode(OBSERVATION), "a2": FLIGHT_STREAM.encode(FLIGHT)}
LONGEST_REASON = 3000
# fmt: off
TEXTS: list[Any] = [
    "\ud800", "", " ", "\x00", "a\x00b", "\\", "\\N", "\\.", "\t", "\r\n", "\x1b[2J", "\u2028", "\ufeff", "é" * 99,
    "\U0010ffff",
    "0001-01-01", "0013-10-01", "0000-01-01", "9999-12-31", "10000-01-01", "2013-02-29", "2013-03-01", "-1-01-01",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2013-03-01T12:00:00+25:00", "2013-03-01T12:00:60Z",
    "infinity", "-infinity", "NaN", "epoch", "now", "JFK", "EWR", "UA", "2013-03-01-UA-1545-EWR", "a2/1", "a1/1",
    True, None, 0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308, 5e-324, [], {}, [[]], {"a": {"b": []}},
]
"""What a column may be given instead; more than one of it has stopped somebody's consumer."""
TOKENS = [
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1" * 5000, b"0x10", b"01", b"1_0", b"nul", b"'x'",
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\x"', b'"\xff\xfe"', b'"\xed\xa0\x80"',
    b'"' + b"x" * 300 + b'"',
    b"[" * 3000, b'{"a":' * 3000, b"//", b"/**/", b'{"schema":"a2/1"}', b'"schema":"a1/1"', b"\x00", b"\n",
    b"\xef\xbb\xbf",
]
PIECES = [
    "partition=", "0", "1", "7", "-1", "x", "", " ", "+", "a1", "a2", ".json", ".jsonl", ".gz", "/", ".", "..", "_log",
    "0000000000", "0000000007", "99999999999999999999", "2147483648", "²", "٣", "\udcff", "\n", "\x00",
]
# fmt: on
HEADERS = [
    b"",
    b"a1/1",
    b"a2/1",
    b"a2/9",
    b"a2/1\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"x" * 10_000,
    b"\x1b[31m\n",
    b"%s{0}",
]


def poison(chance: random.Random, topic: Stream) -> bytes:
    """A record of which something was changed, or bytes that were never one."""
    value = SOUND[topic.name]
    match chance.randrange(14):
        case 0 | 1:
            return chance.randbytes(chance.randrange(200))
        case 2 | 3:
            place = chance.randrange(len(value))
            return value[:place] + chance.randbytes(chance.randrange(1, 4)) + value[place + chance.randrange(3) :]
        case 4 | 5:
            return value[: chance.randrange(len(value))]
        case 6 | 7 | 8:
            token = chance.choice(TOKENS)
            places = [place for place in range(len(value)) if value[place : place + 1] in b':,{"}']
            place = chance.choice(places)
            return value[: place + 1] + token + value[place + chance.randrange(1, 8) :]
        case 9 | 10:
            twice = json.dumps({chance.choice([*json.loads(value), "schema"]): chance.choice(TEXTS)}).encode()
            return value[:-1] + b"," + twice[1:] if chance.random() < 0.5 else twice[:-1] + b"," + value[1:]
        case 11:
            return chance.choice(TOKENS)
        case _:
            record: dict[str, Any] = json.loads(value)
            for _ in range(chance.randint(1, 3)):
                record[chance.choice(list(record))] = chance.choice(TEXTS)
            return json.dumps(record, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def header(chance: random.Random) -> str | None:
    """What a schema's header says, as a consumer hands it on; None as from a broker without headers."""
    return None if chance.random() < 0.2 else chance.choice(HEADERS).decode("utf-8", "surrogateescape")


def messages(seed: int, topic: Stream, count: int) -> list[Received]:
    """Poison amid sound records, with headers of any kind."""
    chance = random.Random(seed)
    return [
        Received(
            0,
            offset,
            SOUND[topic.name] if chance.random() < 0.1 else poison(chance, topic),
            header(chance) if chance.random() < 0.2 else f"{topic.name}/1",
        )
        for offset in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("topic", [WEATHER_STREAM, FLIGHT_STREAM], ids=["a1", "a2"])
def test_every_input_is_a_record_or_a_letter_that_can_be_written(topic: Stream) -> None:
    for seed in range(35):
        sent = messages(seed, topic, 1000)
        batch = Batch.of(topic, sent, {})
        assert batch.records + len(batch.dead) == len(sent)
        assert batch.dead
        assert batch.end == {0: 1000}
        for letter in batch.dead:
            assert letter.reason.isprintable()
            assert 0 < len(letter.reason) <= LONGEST_REASON


def test_no_name_of_a_file_is_more_than_a_stray(tmp_path: Path) -> None:
    folder = TopicFolder(open_store(str(tmp_path)), "a1")
    chance = random.Random(7)
    for _ in range(20_000):
        name = "partition=0/a1+0+0000000000.json" if chance.random() < 0.3 else ""
        name = name.replace(chance.choice(["0", "=", "+", "a1", "/"]), chance.choice(PIECES), chance.choice([1, -1]))
        name += "".join(chance.choices(PIECES, k=chance.randrange(5)))
        place = folder.place(name)
        if place is not None:
            partition, start = place
            assert 0 <= partition < 2**31
            assert 0 <= start < 2**62
            assert folder.segments([name]) == {partition: {start: name}}
        else:
            assert folder.segments([name]) == {}
        assert printable(name).isprintable()


@dataclass
class Listed:
    """A broker whose one log is a list: it can hold what no producer would send."""

    log: list[Received]
    position: int = 0
    where: str = "a list"

    def consumer(self, topic: str, group: str) -> Listed:
        return self

    def log_id(self) -> str:
        return "a list"

    def bounds(self) -> Mapping[int, Bounds]:
        return {0: Bounds(0, len(self.log))}

    def seek(self, positions: Mapping[int, int]) -> None:
        self.position = positions[0]

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        found = self.log[self.position : self.position + limit]
        self.position += len(found)
        return found

    def caught_up(self) -> bool:
        return True

    def commit(self, positions: Mapping[int, int]) -> None:
        """Nobody asks for it."""

    def close(self) -> None:
        """Nothing is held open."""


@pytest.mark.stack
@pytest.mark.parametrize("topic", [WEATHER_STREAM, FLIGHT_STREAM], ids=["a1", "a2"])
def test_a_shift_stores_or_sets_apart_every_input_with_its_very_bytes(database: str, topic: Stream) -> None:
    # Given thousands of inputs, and between them what is large, or as far away as a date can be
    sent = messages(2013, topic, 5000)
    at_the_ends = [_moved(topic, day) for day in ("0001-01-01", "0013-03-01", "9999-12-30", "9999-12-31")]
    for value in [*at_the_ends, SOUND[topic.name], b"x" * (10 << 20), SOUND[topic.name]]:
        sent.append(Received(0, len(sent), value, f"{topic.name}/1"))
    # When a worker works on them
    worker = Worker(WorkerSpec("worker", topic.name, 500), Ledger(database, "fuzz", topic), Listed(sent))  # type: ignore[arg-type]
    tally = worker.work(shift_until(lambda: False), drain=True)
    # Then it is done with all of them, and has lost none
    assert (tally.drained, tally.messages) == (True, len(sent))
    assert tally.database_errors == 0
    with psycopg.connect(database) as session:
        rows = session.execute("SELECT topic_offset, value, schema_id FROM dead_letters").fetchall()
        stored = session.execute(f"SELECT count(*) FROM {topic.table}").fetchone()
    letters = {offset: (bytes(value), header and bytes(header)) for offset, value, header in rows}
    assert len(letters) == tally.dead_letters > 3000
    for offset, (value, header) in letters.items():
        named = sent[offset].schema_id
        assert value == sent[offset].value
        assert (header or b"") == (named or "").encode("utf-8", "surrogateescape")
    assert stored is not None
    assert stored[0] > len(at_the_ends)
    assert worker.trouble == ""


def _moved(topic: Stream, day: str) -> bytes:
    """A record that is sound, but for its day."""
    return SOUND[topic.name].replace(b"2013-03-01", day.encode()).replace(b"2013-02-28", day.encode())


@pytest.mark.parametrize("day", ["0001-01-01", "0013-10-01", "2013-02-27", "2013-03-03", "9999-12-31"])
def test_a_day_that_is_far_from_its_record_makes_no_partition(day: str) -> None:
    value = SOUND["a2"].replace(b'"date":"2013-03-01"', f'"date":"{day}"'.encode())
    value = value.replace(b'"flight_id":"2013-03-01', f'"flight_id":"{day}'.encode())
    with pytest.raises(PoisonError, match=f"date: {day} is not within a day of scheduled_departure"):
        FLIGHT_STREAM.decode(value)
    assert FLIGHT_STREAM.decode_all([SOUND["a2"]]) is not None
    assert FLIGHT_STREAM.decode_all([SOUND["a2"], value]) is None


def test_what_comes_before_and_after_midnight_is_of_the_same_day() -> None:
    for day in ("2013-02-28", "2013-03-02"):
        moved = SOUND["a2"].replace(b'"date":"2013-03-01"', f'"date":"{day}"'.encode())
        moved = moved.replace(b'"flight_id":"2013-03-01', f'"flight_id":"{day}'.encode())
        assert FLIGHT_STREAM.decode(moved)["date"] == day
        assert FLIGHT_STREAM.decode_all([moved]) is not None


def test_a_column_that_comes_twice_is_poison_whichever_a_reader_would_take() -> None:
    for name in ("schema", "dest", "date"):
        with pytest.raises(PoisonError, match="a column comes twice"):
            FLIGHT_STREAM.decode(SOUND["a2"][:-1] + f',"{name}":{json.dumps(json.loads(SOUND["a2"])[name])}}}'.encode())


# Landing folders


def _shift(site: Site, over: Callable[[Worker], object] = lambda _: False) -> Worker:
    worker = Worker(WorkerSpec("worker_2", "a2"), Ledger(site.url, consumer("worker_2"), FLIGHT_STREAM), site.broker)
    worker.work(shift_until(lambda: over(worker)), drain=True)
    return worker


@pytest.mark.stack
def test_stray_files_stop_nobody_and_are_named_once(
    site: Site, messages: dict[str, list[Message]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a topic's folder, and in it whatever people and programs leave behind
    site.publish("a2", messages["a2"][:100])
    folder = tmp_path / "landing" / "topics" / "a2"
    strays = [
        *("partition=x/a2+0+0000000000.json", "partition=-1/a2+-1+0000000000.json", "notes.txt", ".DS_Store"),
        *("partition=99999999999999999999/a2+99999999999999999999+0000000000.json", "partition=0/a2+1+0000000000.json"),
        *(
            "partition=0/old/a2+0+0000000005.json",
            "partition=0/a2+0+99999999999999999999.json",
            "partition=0/a2+0+.json",
        ),
        *(
            "partition=0/a2+0+0000000000.json.gz",
            "partition=0/FLIGHT_STREAM+0+0000000000.json",
            "partition=0/\udcff\n.json",
        ),
    ]
    for name in strays:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"stray")
    (folder / "partition=0" / "a2+0+0000009999.json").mkdir()
    (folder / "partition=0" / "gone.json").symlink_to(tmp_path / "nowhere")
    (folder / "partition=3").mkdir()
    # And an empty segment, which is one empty line
    (folder / "partition=7").mkdir()
    (folder / "partition=7" / "a2+7+7.json").touch()
    # When a shift drains it
    worker = _shift(site)
    # Then the records are stored, the line is a letter, and the rest is told once
    assert (worker.tally.drained, worker.tally.records, worker.tally.dead_letters) == (True, 100, 1)
    told = [line.getMessage() for line in caplog.records if "no segments" in line.getMessage()]
    assert len(told) == 1
    assert "and 8 more" in told[0]
    assert told[0].isprintable()


@pytest.mark.stack
def test_a_segment_that_cannot_be_read_holds_up_its_partition_alone(
    site: Site, messages: dict[str, list[Message]], tmp_path: Path
) -> None:
    # Given a segment whose disk is away, in one of two partitions
    site.publish("a2", messages["a2"][:100])
    segment = tmp_path / "landing" / "topics" / "a2" / "partition=1" / "a2+1+0000000000.json"
    away = segment.rename(tmp_path / "away")
    segment.symlink_to(tmp_path / "nowhere")
    # When a shift is to drain the topic
    worker = _shift(site, lambda worker: worker.tally.records and segment.name in worker.trouble)
    # Then the other partition is stored, and the shift says what it waits for
    assert worker.tally.records > 0
    assert not worker.tally.drained
    assert "a2+1+0000000000.json" in worker.trouble
    # And once it can be read nothing is missing
    segment.unlink()
    away.rename(segment)
    assert _shift(site).tally.drained
    site.everything_is_stored("a2")


@pytest.mark.stack
def test_a_segment_that_is_missing_in_the_middle_is_told(
    site: Site, messages: dict[str, list[Message]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.broker = LandingBroker(open_store(str(tmp_path / "landing")), partitions=1)
    for first in (0, 50, 100):
        site.publish("a2", messages["a2"][first : first + 50])
    (tmp_path / "landing" / "topics" / "a2" / "partition=0" / "a2+0+0000000050.json").unlink()
    assert _shift(site).tally.messages == 100
    assert "partition 0 has no offsets from 50 to 99" in caplog.text


# What only the database knows


@pytest.mark.stack
@pytest.mark.parametrize(
    "rule",
    [
        "ALTER TABLE flights ADD CHECK (dest <> '{dest}')",
        "CREATE FUNCTION bar() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.dest = '{dest}' THEN"
        " RAISE EXCEPTION 'barred'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER bar BEFORE INSERT ON flights FOR EACH ROW EXECUTE FUNCTION bar()",
    ],
    ids=["a check", "a trigger"],
)
def test_what_a_rule_of_the_database_refuses_is_set_apart(
    site: Site, messages: dict[str, list[Message]], rule: str
) -> None:
    sent = messages["a2"][:300]
    dest = json.loads(sent[7].value)["dest"]
    barred = sum(json.loads(message.value)["dest"] == dest for message in sent)
    with psycopg.connect(site.url) as session:
        session.execute(rule.format(dest=dest).encode())
    site.publish("a2", sent)
    worker = _shift(site)
    assert (worker.tally.drained, worker.tally.dead_letters) == (True, barred)
    assert worker.tally.records == len(sent) - barred


@pytest.mark.stack
def test_a_batch_of_very_many_days_is_stored_in_pieces(database: str) -> None:
    # Given as many days in one batch as would take a server's locks
    days = [f"{datetime(2001, 1, 1) + timedelta(days=number):%Y-%m-%d}" for number in range(450)]
    sent = [Received(0, number, _moved(WEATHER_STREAM, day), "a1/1") for number, day in enumerate(days)]
    worker = Worker(WorkerSpec("worker", "a1", 1000), Ledger(database, "days", WEATHER_STREAM), Listed(sent))  # type: ignore[arg-type]
    tally = worker.work(shift_until(lambda: False), drain=True)
    assert (tally.drained, tally.records, tally.dead_letters) == (True, len(days), 0)
    assert tally.batches > 4
