"""A bucket that turns away, breaks off and loses answers: the lake ends right, bytes equal; or one line says why.

The bucket is a mock of S3 (moto) behind real HTTP; between it and us stands a proxy that does the harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pyarrow as pa
import pytest

import stores.store
from include.errors import ExitCode, LakeError
from include.storage.delta_log import DeltaLog, follow
from include.storage.lake import Dataset, Lake, Layer
from include.storage.store import open_store
from stores.refusal import TRIES, Refusal
from stores.store import Store, StoreError
from tests.fault_proxy import Fault, FaultProxy, Request, third_and_fourth

Faulty = Callable[[Callable[[Request], Fault]], FaultProxy]
DAYS = [date(2013, 10, 1) + timedelta(days=number) for number in range(8)]
FLIGHTS = Dataset(Layer.RAW, "flights")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as in production, but shorter."""
    monkeypatch.setattr("stores.bucket.PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("stores.bucket.LONGEST_PAUSE_SECONDS", 0.02)


@pytest.fixture
def faulty(s3_endpoint: str, bucket: str) -> Iterator[Faulty]:
    """Makes a proxy before the S3 API; it is gone after the test."""
    proxies: list[FaultProxy] = []

    def make(fault: Callable[[Request], Fault]) -> FaultProxy:
        proxies.append(FaultProxy(s3_endpoint, fault))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


def store(bucket: str, endpoint: str) -> Store:
    return open_store(f"s3://{bucket}/lake", s3_endpoint=endpoint)


def longest_run(proxy: FaultProxy) -> int:
    """How often in a row the same request did not go well."""
    runs, longest = Counter[tuple[str, str]](), 0
    for request, fault in proxy.seen:
        what = (request.method, request.path)
        runs[what] = 0 if fault is Fault.NONE else runs[what] + 1
        longest = max(longest, runs[what])
    return longest


def rows(day: date) -> pa.Table:
    return pa.table({"day": [day.isoformat()] * 500, "number": list(range(500))})


@pytest.mark.slow
def test_a_lake_through_a_store_that_refuses_a_third_and_loses_a_fourth_ends_right(
    bucket: str, s3_endpoint: str, faulty: Faulty
) -> None:
    # Given a bucket behind such a proxy, and the same work done in one that has none
    proxy = faulty(third_and_fourth)
    lake = Lake(store(bucket, proxy.url), "case")
    calm = Lake(open_store(f"s3://{bucket}/calm", s3_endpoint=s3_endpoint), "case")
    # When partitions are published side by side, listed and read back
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: lake.publish(FLIGHTS.on(day), {"rows.parquet": rows(day)}), DAYS))
    for day in DAYS:
        calm.publish(FLIGHTS.on(day), {"rows.parquet": rows(day)})
    # Then no call failed, and what is there is there byte by byte
    assert lake.days(FLIGHTS) == DAYS
    assert lake.read_days(FLIGHTS, DAYS).equals(calm.read_days(FLIGHTS, DAYS))
    direct = store(bucket, s3_endpoint)
    names = list(direct.names("case"))
    assert names == list(calm.store.names("case"))
    assert all(direct.read(name) == calm.store.read(name) for name in names)
    assert proxy.faults() > len(proxy.seen) // 2, "there was little harm, so this asserts little"
    assert longest_run(proxy) > 4


def test_what_earlier_calls_met_leaves_later_ones_as_many_tries(bucket: str, s3_endpoint: str, faulty: Faulty) -> None:
    # Given a store that answers each request only when it is made for the fifth time
    proxy = faulty(lambda request: Fault.NONE if request.times > 4 else Fault.RESET)
    harmed = store(bucket, proxy.url)
    # When many blobs are written by one client
    names = [f"{number:03}" for number in range(30)]
    for name in names:
        harmed.replace(f"x/{name}", name.encode())
    # Then the last ones are as sure to be there as the first
    assert list(store(bucket, s3_endpoint).names("x")) == [f"x/{name}" for name in names]


def test_an_exclusive_write_whose_answer_was_lost_is_known_as_ones_own(bucket: str, faulty: Faulty) -> None:
    # Given a store that writes, and whose answer to the first try is lost
    proxy = faulty(lambda request: Fault.LOST if request.number == 1 else Fault.NONE)
    # Then the writer has won, although its second try met a blob that is there
    assert store(bucket, proxy.url).create("manifest", b"mine") is True
    assert [request.method for request, _ in proxy.seen] == ["PUT", "PUT", "GET"]


def test_an_exclusive_write_that_was_refused_first_and_came_late_has_lost(
    bucket: str, s3_endpoint: str, faulty: Faulty
) -> None:
    # Given a store that refuses the first try, while another writes
    def fault(request: Request) -> Fault:
        if request.number == 1:
            store(bucket, s3_endpoint).create("manifest", b"theirs")
            return Fault.SLOW_DOWN
        return Fault.NONE

    late = store(bucket, faulty(fault).url)
    # Then the winner is the other one
    assert late.create("manifest", b"mine") is False
    assert late.read("manifest") == b"theirs"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.SLOW_DOWN, "SlowDown: the store asks to slow down, and went on to; try again later"),
        (Fault.RESET, "is the endpoint up?"),
    ],
)
@pytest.mark.parametrize("act", ["read", "exists", "replace", "create", "names", "delete", "modified"])
def test_a_store_that_never_gives_way_is_a_fault_in_its_own_words(
    bucket: str, faulty: Faulty, fault: Fault, says: str, act: str
) -> None:
    away = store(bucket, faulty(lambda *_: fault).url)
    with pytest.raises(LakeError) as raised:
        list(away.names("x")) if act == "names" else getattr(away, act)(*["x", b"1"][: 1 + (act in CONTENT)])
    assert raised.value.exit_code is ExitCode.FAULT
    assert "check bucket and credentials" not in str(raised.value)
    # (to a HEAD, S3 answers without a word: only the number is known)
    assert says in str(raised.value).replace("503:", "SlowDown:")


CONTENT = {"replace", "create"}


def test_a_body_that_always_breaks_off_is_told_in_the_end(bucket: str, s3_endpoint: str, faulty: Faulty) -> None:
    store(bucket, s3_endpoint).replace("x", b"1" * 100_000)
    proxy = faulty(lambda *_: Fault.HALF)
    with pytest.raises(LakeError, match=r"lake: cannot read s3://.*/lake/x: .*is the endpoint up"):
        store(bucket, proxy.url).read("x")
    assert [request.method for request, _ in proxy.seen] == ["GET"] * TRIES


def test_a_store_that_hangs_is_not_waited_for_longer_than_its_caller_has_patience(bucket: str, faulty: Faulty) -> None:
    # Given a store that breaks off, and patience for a moment
    proxy = faulty(lambda _: Fault.RESET)
    impatient = stores.store.open_store(f"s3://{bucket}", endpoint=proxy.url, patience=0)
    # Then it is told at once
    with pytest.raises(StoreError, match="cannot read"):
        impatient.read("x")
    assert len(proxy.seen) == 1


def test_who_waits_for_a_store_in_trouble_is_told_why(
    bucket: str, s3_endpoint: str, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    store(bucket, s3_endpoint).replace("x", b"1")
    proxy = faulty(lambda request: Fault.NONE if request.times > 12 else Fault.SLOW_DOWN)
    assert store(bucket, proxy.url).read("x") == b"1"
    assert caplog.text.count("/lake/x after 8 tries: SlowDown: the store asks to slow down") == 1


def test_of_two_exclusive_writers_one_is_asked_to_wait_and_then_has_lost(
    bucket: str, s3_endpoint: str, faulty: Faulty
) -> None:
    # Given a store that is busy with another's write of the same content
    store(bucket, s3_endpoint).create("manifest", b"same")
    proxy = faulty(lambda request: Fault.CONFLICT if request.number < 3 else Fault.NONE)
    # Then it is not taken for one's own
    assert store(bucket, proxy.url).create("manifest", b"same") is False
    assert len(proxy.seen) == 3


def test_missing_credentials_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the credentials of other tests
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(LakeError, match="there are no credentials; set AWS_ACCESS_KEY_ID"):
        store("bucket", "http://127.0.0.1:1").read("x")


def test_a_blob_that_azure_no_longer_has_is_deleted() -> None:
    gone = FileNotFoundError("Bulk delete request failed for key a: The specified blob does not exist. (code: 404)")
    assert Refusal.of(gone).not_there


@pytest.mark.slow
def test_a_delta_log_behind_such_a_store_is_what_the_manifests_say(
    bucket: str, s3_endpoint: str, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a store that turns away, breaks off and loses answers, also that of a commit; pauses are shorter here, too
    known = DeltaLog._options
    shorter = {"backoff_config.init_backoff": "1ms", "backoff_config.max_backoff": "20ms"}
    monkeypatch.setattr(DeltaLog, "_options", lambda log: known(log) | shorter)
    proxy = faulty(third_and_fourth)
    lake = Lake(store(bucket, proxy.url), "case")

    # When days are published and committed one by one
    for day in DAYS[:2]:
        lake.publish(FLIGHTS.on(day), {"rows.parquet": rows(day)})
        follow(lake, grace=timedelta(days=7), s3_endpoint=proxy.url)

    # Then each day is in the table, once
    table = DeltaLog(Lake(store(bucket, s3_endpoint), "case"), "raw/flights", s3_endpoint=s3_endpoint).open()
    assert table is not None
    days = Counter(table.to_pyarrow_table(columns=["data_day"])["data_day"].to_pylist())
    assert days == dict.fromkeys(DAYS[:2], 500)
    assert [fault for request, fault in proxy.seen if "/_delta_log/" in request.path and fault is not Fault.NONE]
