from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from formats.answers.binary import BinaryKind
from serving.errors import FetchError
from serving.telemetry import sampling
from serving.telemetry.sampling import Rotation, Sampler
from stores.folder import FileStore
from stores.store import Store, open_store
from tests.waiting import PATIENCE

BODY = b'{"rows":[{"distance":1.5,"carrier":"B6"},{"distance":null,"carrier":null}]}'
MANY = 1e9


def lake_at(address: str, s3_endpoint: str | None = None) -> Store:
    return open_store(address, endpoint=s3_endpoint, failure=FetchError)


class Hanging(FileStore):
    """A lake that answers nothing until it is let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked, self.let_go, self.answered = (threading.Event() for _ in range(3))

    def replace(self, name: str, content: bytes | Path) -> None:
        self.asked.set()
        self.let_go.wait(PATIENCE)
        self.answered.set()


def offer(sampler: Sampler, times: int = 1) -> None:
    for number in range(times):
        sampler.offer("flight_delay", "7", f"request-{number}", BODY, np.array([0.25, 0.75]), kind=BinaryKind())


def lines(lake: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(lake.glob("samples/*/date=*/[!.]*.jsonl.gz"))  # not what is still written
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def soon(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_a_sample_holds_what_was_asked_and_answered(tmp_path: Path) -> None:
    sampler = Sampler(lake_at(tmp_path.as_uri()), 1.0, MANY)
    before = datetime.now(UTC)

    sampler.start()
    offer(sampler)
    sampler.stop()

    first, second = lines(tmp_path)
    assert before <= datetime.fromisoformat(first.pop("at")) <= datetime.now(UTC)
    assert first == {
        "version": "7",
        "request_id": "request-0",
        "row": 0,
        "inputs": {"distance": 1.5, "carrier": "B6"},
        "probability": 0.25,
    }
    assert (second["row"], second["inputs"]["carrier"], second["probability"]) == (1, None, 0.75)
    assert (sampler.written, sampler.dropped) == (2, 0)


def test_samples_lie_under_their_use_case_and_day_and_nothing_half_written_is_left(tmp_path: Path) -> None:
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, MANY)

    sampler.start()
    sampler.offer("a/use case", "7", "", BODY, np.array([0.1, 0.2]), kind=BinaryKind())
    sampler.stop()

    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent == tmp_path / "samples" / "a%2Fuse%20case" / f"date={datetime.now(UTC).date()}"


def test_only_the_share_wished_for_is_kept(tmp_path: Path) -> None:
    some, none = Sampler(lake_at(str(tmp_path)), 0.2, MANY), Sampler(lake_at(str(tmp_path)), 0.0, MANY)

    for sampler in (some, none):
        sampler.start()
        offer(sampler, 5_000)
        sampler.stop()

    assert 1_600 < some.written < 2_400  # 5,000 requests of 2 rows at a fifth: 2,000, give or take 7 deviations
    assert none.written == 0


def test_however_great_the_load_only_so_many_rows_a_second_are_picked(tmp_path: Path) -> None:
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, rows_per_second=100)

    sampler.start()
    started = time.monotonic()
    offer(sampler, 2_000)
    took = time.monotonic() - started
    sampler.stop()

    assert 100 <= sampler.written <= 102 + 100 * (took + 1)
    assert sampler.skipped == 2_000 - sampler.written / 2
    assert sampler.dropped == 0


def test_a_segment_appears_when_it_is_old_enough(tmp_path: Path) -> None:
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, MANY, Rotation(age=0.3))

    sampler.start()
    offer(sampler)
    soon(lambda: lines(tmp_path))
    offer(sampler)
    sampler.stop()

    assert len(list(tmp_path.rglob("*.jsonl.gz"))) == 2
    assert len(lines(tmp_path)) == 4


def test_a_segment_appears_when_it_is_large_enough(tmp_path: Path) -> None:
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, MANY, Rotation(size=1_000))

    sampler.start()
    offer(sampler, 10)
    soon(lambda: lines(tmp_path))
    sampler.stop()

    assert len(lines(tmp_path)) == 20


def test_midnight_parts_the_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        day = 1

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 12, cls.day, 23, 59, 59, tzinfo=tz)

    monkeypatch.setattr(sampling, "datetime", Clock)
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, MANY)
    offer(sampler)
    Clock.day = 2
    offer(sampler)
    sampler.start()
    sampler.stop()

    days = {path.parent.name for path in tmp_path.rglob("*.jsonl.gz")}
    assert days == {f"date={date(2026, 12, day)}" for day in (1, 2)}


def test_a_lake_that_cannot_be_written_costs_samples_not_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a lake that is a file, and room for few samples in memory
    monkeypatch.setattr(sampling, "HELD_BYTES", 10_000)
    monkeypatch.setattr(sampling, "RETRY_SECONDS", 0.05)
    lake = tmp_path / "lake"
    lake.write_text("no folder")
    sampler = Sampler(lake_at(str(lake)), 1.0, MANY, Rotation(age=0.1))
    sampler.start()

    # When much is answered meanwhile
    for _ in range(10):
        offer(sampler, 500)
        time.sleep(0.05)
    soon(lambda: sampler.dropped)

    # Then nobody waited for it, what is held is bounded, it was said once, and nothing was written
    assert sum(segment.size for segment in sampler._segments.values()) < 11_000
    (said,) = (record.message for record in caplog.records)
    assert said.startswith(f"samples cannot be kept, requests go on: cannot write {lake}/samples/")
    assert said.endswith(": Not a directory; free or repair it, then try again")

    # And when the lake is back, what was held arrives
    lake.unlink()
    soon(lambda: lines(lake))
    sampler.stop()
    assert sampler.written + sampler.dropped == 10_000
    assert len(lines(lake)) == sampler.written > 0


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, MANY)

    sampler.start()
    offer(sampler)
    sampler.stop()

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (sampler.written, sampler.dropped) == (0, 2)


def test_a_lake_that_hangs_holds_up_neither_requests_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "QUEUE_BYTES", 100_000)
    monkeypatch.setattr(sampling, "DRAIN_SECONDS", 0.2)
    hanging = Hanging(tmp_path)
    sampler = Sampler(hanging, 1.0, MANY, Rotation(size=1))
    sampler.start()

    offer(sampler, 1)
    assert hanging.asked.wait(PATIENCE)
    offer(sampler, 50_000)
    sampler.stop()

    assert not hanging.answered.is_set()
    assert sampler.dropped > 90_000
    hanging.let_go.set()


def test_a_lake_that_fails_in_a_way_nobody_thought_of_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Surprising(FileStore):
        failed = False

        def replace(self, name: str, content: bytes | Path) -> None:
            if not self.failed:
                self.failed = True
                raise RuntimeError("raw input of a caller")
            super().replace(name, content)

    monkeypatch.setattr(sampling, "RETRY_SECONDS", 0.05)
    sampler = Sampler(Surprising(tmp_path), 1.0, MANY, Rotation(age=0.1))

    sampler.start()
    offer(sampler)
    soon(lambda: lines(tmp_path))
    sampler.stop()

    assert (sampler.written, sampler.dropped) == (2, 0)
    assert "requests go on: RuntimeError; free or repair" in caplog.text
    assert "raw input" not in caplog.text


def test_a_body_that_cannot_be_read_is_dropped_and_the_next_is_kept(tmp_path: Path) -> None:
    sampler = Sampler(lake_at(str(tmp_path)), 1.0, MANY)

    sampler.start()
    sampler.offer("flight_delay", "7", "", b"\xff", np.array([0.1]), kind=BinaryKind())
    sampler.offer("flight_delay", "7", "", BODY, np.array([0.1]), kind=BinaryKind())
    offer(sampler)
    sampler.stop()

    assert (sampler.written, sampler.dropped) == (2, 2)
    assert len(lines(tmp_path)) == 2


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of an object store with a bucket `lake`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="lake")
    yield f"http://{host}:{port}"
    server.stop()


def test_samples_are_put_into_a_bucket(bucket: str) -> None:
    sampler = Sampler(lake_at("s3://lake/prod", bucket), 1.0, MANY)

    sampler.start()
    offer(sampler)
    sampler.stop()

    client = boto3.client("s3", endpoint_url=bucket)
    (entry,) = client.list_objects_v2(Bucket="lake", Prefix="prod/")["Contents"]
    assert entry["Key"].startswith(f"prod/samples/flight_delay/date={datetime.now(UTC).date()}/")
    content = gzip.decompress(client.get_object(Bucket="lake", Key=entry["Key"])["Body"].read())
    assert [json.loads(line)["probability"] for line in content.splitlines()] == [0.25, 0.75]


def test_a_bucket_that_is_not_there_is_survived(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    sampler = Sampler(lake_at("s3://gone", bucket), 1.0, MANY)

    sampler.start()
    offer(sampler)
    sampler.stop()

    assert (sampler.written, sampler.dropped) == (0, 2)
    assert "NoSuchBucket" in caplog.text
