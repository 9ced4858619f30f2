"""A user's own files, in a folder, in a (mock) bucket or behind a URL, whole or broken."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from include.errors import DataError, ExitCode, FaultError, SettingsError
from include.quality.conform import conform
from include.sources import download
from include.sources.tabular import Files, TabularSource
from include.step import Context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Layer, days_between
from tests.small_case import DAY, SALES, SPEC, small_context

FIRST = date(2026, 5, 1)
CSV = (
    "id,shop,amount,note,at\n"
    "s-1,north,1.50,,2026-05-20T08:00:00Z\n"
    's-2,south,20,"with, comma",2026-05-20T10:00:00+02:00\n'
)


def source(root: str, path: str = "{topic}/{date}.csv", **more: Any) -> TabularSource:
    column = None if "{date}" in path else "day"
    return TabularSource(root, {"sales": Files(path, column)}, first_day=FIRST, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one good day."""
    folder = tmp_path / "my data"
    (folder / "sales").mkdir(parents=True)
    (folder / "sales" / f"{DAY}.csv").write_text(CSV)
    return folder


class Server(ThreadingHTTPServer):
    """A web server that answers with `bodies` by path, after refusing `refusals` times with `status`."""

    bodies: dict[str, bytes]
    refusals = 0
    status = 503
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        body = self.server.bodies.get(self.path)
        refused = self.server.asked <= self.server.refusals
        self.send_response(self.server.status if refused else 404 if body is None else 200)
        self.end_headers()
        self.wfile.write(b"" if refused or body is None else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("stores.bucket.PAUSE_SECONDS", 0.001)
    server = Server(("127.0.0.1", 0), Handler)
    server.bodies = {f"/sales/{DAY}.csv": CSV.encode()}
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_a_folder_of_csv_is_read_as_text_that_the_contract_understands(folder: Path) -> None:
    records = source(str(folder)).read("sales", DAY)
    assert set(records.schema.types) == {pa.string()}
    good = conform(records, SALES, "test").good
    assert good["amount"].to_pylist() == [1.5, 20.0]
    assert good["note"].to_pylist() == [None, "with, comma"]
    assert good["at"][0].as_py() == good["at"][1].as_py()
    # And so is the same folder by its address, where the space is %20
    assert source(folder.as_uri()).read("sales", DAY).equals(records)


def test_text_that_looks_like_a_number_stays_text(folder: Path) -> None:
    (folder / "sales" / f"{DAY}.csv").write_text("code\n007\n1e5\n")
    assert source(str(folder)).read("sales", DAY)["code"].to_pylist() == ["007", "1e5"]


def test_a_folder_of_parquet_keeps_its_types(folder: Path) -> None:
    table = pa.table({"id": ["s-1"], "amount": pa.array([3], pa.int32())})
    pq.write_table(table, folder / "sales" / f"{DAY}.parquet")
    assert source(str(folder), "{topic}/{date}.parquet").read("sales", DAY).equals(table)


def test_a_compressed_file_is_read(folder: Path) -> None:
    (folder / f"{DAY}.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    assert source(str(folder), "{date}.csv.gz").read("sales", DAY).num_rows == 2


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    (folder / "sales" / f"{DAY}.csv").write_bytes(b"\xef\xbb\xbf" + CSV.encode())
    assert source(str(folder)).read("sales", DAY).column_names[0] == "id"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_file_of_all_days_is_cut_by_its_date_column_and_read_once(folder: Path, suffix: str) -> None:
    days = [date(2026, 5, 20), date(2026, 5, 21), date(2026, 5, 20)]
    file = folder / f"all.{suffix}"
    if suffix == "csv":
        file.write_text("day,n\n" + "".join(f"{day},{n}\n" for n, day in enumerate(days)))
    else:
        pq.write_table(pa.table({"day": days, "n": ["0", "1", "2"]}), file)
    one = source(str(folder), f"all.{suffix}")
    assert one.read("sales", date(2026, 5, 20))["n"].to_pylist() == ["0", "2"]
    file.unlink()
    assert one.read("sales", date(2026, 5, 21))["n"].to_pylist() == ["1"]
    assert one.read("sales", date(2026, 5, 22)).num_rows == 0


def test_a_file_without_a_byte_has_no_rows(folder: Path) -> None:
    (folder / "sales" / f"{DAY}.csv").write_bytes(b"")
    assert source(str(folder)).read("sales", DAY).num_rows == 0


def test_files_behind_a_url_are_read(server: Server) -> None:
    assert source(address(server)).read("sales", DAY).num_rows == 2


def test_files_in_a_bucket_are_read(bucket: str, s3_endpoint: str) -> None:
    """Over moto, a mock of S3, behind real HTTP requests."""
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    client.put_object(Bucket=bucket, Key=f"in/sales/{DAY}.csv", Body=CSV.encode())
    assert source(f"s3://{bucket}/in", s3_endpoint=s3_endpoint).read("sales", DAY).num_rows == 2


def test_bytes_that_are_no_utf8_are_named_with_file_and_position(folder: Path) -> None:
    file = folder / "sales" / f"{DAY}.csv"
    file.write_bytes(CSV.encode() + "s-3,süd".encode("latin-1"))
    with pytest.raises(DataError) as raised:
        source(str(folder)).read("sales", DAY)
    position = len(CSV) + 5
    assert str(raised.value) == f"source: {file} is not UTF-8: byte 0xfc at position {position}; save it as UTF-8"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "{date}.csv",
            b"a,b\n1,2,3\n",
            "1 of 2 rows do not fit its header, such as row 2 has 3 cells, and the first has 2",
        ),
        ("{date}.parquet", b"PAR1 and then nothing", "is broken"),
        ("{date}.parquet", b"", "is broken"),
        ("{date}.csv.gz", b"no gzip", "is broken"),
    ],
)
def test_a_broken_file_is_named_and_not_tried_again(folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / name.format(date=DAY)).write_bytes(content)
    with pytest.raises(DataError, match=f"source: .*{DAY}.*{reason}.*; deliver it again") as raised:
        source(str(folder), name).read("sales", DAY)
    assert "\n" not in str(raised.value)


def test_a_file_that_was_not_delivered_is_named(folder: Path, server: Server) -> None:
    for root in (str(folder), address(server)):
        with pytest.raises(DataError, match=r"source: .*/sales/2026-05-21.csv is not there; deliver it"):
            source(root).read("sales", date(2026, 5, 21))


def test_a_server_that_stumbles_is_asked_again(server: Server) -> None:
    server.refusals = 2
    assert source(address(server)).read("sales", DAY).num_rows == 2
    assert server.asked == 3


@pytest.mark.parametrize("status", [500, 403])
def test_a_server_that_refuses_is_a_fault_after_three_attempts(server: Server, status: int) -> None:
    server.refusals, server.status = 99, status
    with pytest.raises(FaultError, match=rf"cannot be read after 3 attempts: HTTP {status} .*") as raised:
        source(address(server)).read("sales", DAY)
    assert server.asked == 3
    assert raised.value.exit_code is ExitCode.FAULT


@pytest.mark.slow
def test_a_place_out_of_reach_is_a_fault_in_one_line(server: Server, s3_credentials: None) -> None:
    for root, endpoint in (("http://127.0.0.1:9", None), ("s3://bucket", "http://127.0.0.1:9")):
        with pytest.raises(FaultError, match=r"^source: .*cannot (be read after 3|read s3)"):
            source(root, s3_endpoint=endpoint).read("sales", DAY)


def test_a_date_column_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "all.csv").write_text("when,n\n2026-05-20,1\n")
    with pytest.raises(DataError, match="has no column day; it has when, n"):
        source(str(folder), "all.csv").read("sales", DAY)


WRONG_FILES: dict[str, tuple[dict[str, Any], str]] = {
    "no day": ({"path": "all.csv"}, "date_column=None: for the path 'all.csv'; give either {date} in the path or a"),
    "two days": (
        {"path": "{date}.csv", "date_column": "day"},
        "date_column='day': for the path '{date}.csv'; give either",
    ),
    "a date that is text": ({"path": "{{date}}.csv"}, "date_column=None: for the path '{{date}}.csv'; give either"),
    "another format": (
        {"path": "{date}.xlsx"},
        "path='{date}.xlsx': names no file that is read; end it in .csv, .csv.gz, .parq",
    ),
    "an unknown name": ({"path": "{day}/{date}.csv"}, "nothing stands for {day}; write {date} or {topic}"),
    "a place without a name": ({"path": "{}/{date}.csv"}, "nothing stands for {}; write {date} or {topic}"),
    "a form of the date": ({"path": "{date}/{date:%Y}.csv"}, "nothing stands for {date:%Y}; write {date} or {topic}"),
    "half a brace": (
        {"path": "{date}}.csv"},
        "path='{date}}.csv': Single '}' encountered in format string; write {{ for a",
    ),
    "a calendar without a column": ({"path": "{date}.csv", "calendar": SPEC}, "reads a date_column; name it"),
    "no room": ({"path": "{date}.csv", "max_bytes": 0}, "max_bytes=0: is no room; give at least 1"),
    "no path": ({"path": None}, "path=None: is a NoneType; write a str"),
    "one word": (
        {"path": "{date}.csv", "null_words": "NA"},
        "null_words='NA': is a text; write a tuple, such as ('NA',)",
    ),
    "room in words": ({"path": "{date}.csv", "max_bytes": "1 MB"}, "max_bytes='1 MB': is a str; write a int"),
}


@pytest.mark.parametrize(("given", "reason"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_files_that_cannot_be_read_are_refused_in_one_line_that_names_the_field(
    given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)) as refused:
        Files(**given)
    assert str(refused.value).startswith("sources.py: Files: ")
    assert "\n" not in str(refused.value)


# A folder in place of a file


PARTS = [pa.table({"id": ["a"], "day": [DAY]}), pa.table({"id": ["b"], "day": [DAY]})]


def spark_folder(folder: Path, parts: list[pa.Table], suffix: str = "snappy.parquet") -> Path:
    """What Spark writes in place of one file."""
    folder.mkdir(parents=True)
    for number, part in enumerate(parts):
        path = folder / f"part-{number:05}-5b0e.c000.{suffix}"
        if suffix == "csv":
            csv.write_csv(part, path)
        else:
            pq.write_table(part, path)
        (folder / f".{path.name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").write_bytes(b"")
    return folder


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_folder_of_parts_is_read_as_one_file(tmp_path: Path, suffix: str) -> None:
    spark_folder(tmp_path / f"all.{suffix}", PARTS, suffix)
    assert source(str(tmp_path), f"all.{suffix}").read("sales", DAY)["id"].to_pylist() == ["a", "b"]
    spark_folder(tmp_path / "in" / f"{DAY}.{suffix}", PARTS, suffix)
    assert source(tmp_path.as_uri(), f"in/{{date}}.{suffix}").read("sales", DAY)["id"].to_pylist() == ["a", "b"]


def test_a_folder_of_parts_in_a_bucket_is_read_as_one_file(tmp_path: Path, bucket: str, s3_endpoint: str) -> None:
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    for file in spark_folder(tmp_path / "all.parquet", PARTS).iterdir():
        client.upload_file(str(file), bucket, f"in/all.parquet/{file.name}")
    read = source(f"s3://{bucket}/in", "all.parquet", s3_endpoint=s3_endpoint).read("sales", DAY)
    assert read["id"].to_pylist() == ["a", "b"]


def test_an_empty_part_of_a_csv_folder_has_no_rows(tmp_path: Path) -> None:
    folder = spark_folder(tmp_path / "all.csv", PARTS, "csv")
    (folder / "part-00000-0000.csv").write_bytes(b"")
    assert source(str(tmp_path), "all.csv").read("sales", DAY).num_rows == 2


def test_a_folder_that_cannot_be_one_file_is_told(tmp_path: Path) -> None:
    # Given parts with other columns, a folder cut by a column, one without a part, and one that Spark still writes
    spark_folder(tmp_path / "other.parquet", [PARTS[0], PARTS[1].rename_columns(["name", "day"])])
    spark_folder(tmp_path / "cut.parquet" / "country=NA", PARTS)
    (tmp_path / "empty.parquet").mkdir()
    spark_folder(tmp_path / "begun.parquet", PARTS)
    (tmp_path / "begun.parquet" / "_temporary").mkdir()
    (tmp_path / "begun.parquet" / "_temporary" / "part-0.parquet").write_bytes(b"PAR1")
    for name, error, reason in (
        ("other", DataError, "do not fit together: .*/part-00001-5b0e.c000.snappy.parquet has other columns"),
        ("cut", DataError, "is cut into folders by a column, which its files then lack; write it without partitions"),
        ("empty", DataError, "is not there; deliver it, or correct the path"),
        ("begun", FaultError, "is still being written"),
    ):
        with pytest.raises(error, match=f"^source: .*/{name}.parquet.*{reason}"):
            source(str(tmp_path), f"{name}.parquet").read("sales", DAY)


def test_a_folder_of_parts_has_the_limit_of_a_file(tmp_path: Path) -> None:
    folder = spark_folder(tmp_path / "all.parquet", [pa.table({"id": ["x" * 1000], "day": [DAY]})] * 9)
    largest = max(file.stat().st_size for file in folder.glob("*.parquet"))
    one = TabularSource(str(tmp_path), {"sales": Files("all.parquet", "day", max_bytes=largest)}, first_day=FIRST)
    with pytest.raises(DataError, match=r"all.parquet has more than .* raise max_bytes"):
        one.read("sales", DAY)


def test_a_small_parquet_file_of_many_values_has_the_limit_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x" * 1000] * 40_000}), tmp_path / f"{DAY}.parquet")
    assert (tmp_path / f"{DAY}.parquet").stat().st_size < 100_000
    files = Files("{date}.parquet", max_bytes=32 << 20)
    with pytest.raises(DataError, match=r"has more than 32 MiB, packed or unpacked"):
        TabularSource(str(tmp_path), {"sales": files}, first_day=FIRST).read("sales", DAY)


def test_a_folder_that_is_away_is_a_fault_and_not_a_day_that_was_never_delivered(tmp_path: Path) -> None:
    with pytest.raises(
        FaultError, match=r"source: the folder .*/mount is not there; is it mounted, and the path right\?"
    ):
        source(str(tmp_path / "mount")).read("sales", DAY)


# Through extract


def case_of(folder: Path, sales_file: bytes, path: str = "sales-{date}.csv", **contract: Any) -> Context:
    """A use case whose day has this file of sales, and good files on the days before."""
    for day in days_between(DAY - timedelta(days=5), DAY):
        (folder / f"sales-{day}.csv").write_bytes(CSV.encode())
        (folder / f"plans-{day}.csv").write_text("id,amount\ns-1,1\n")
    (folder / f"plans-{DAY + timedelta(days=1)}.csv").write_text("id,amount\ns-1,1\n")
    (folder / path.format(date=DAY)).write_bytes(sales_file)
    files = {"sales": Files(path), "plans": Files("plans-{date}.csv")}
    return small_context(folder, TabularSource(str(folder), files, first_day=FIRST), **contract)


def run(case: Context) -> int:
    return extract(case, ExtractArguments(use_case="small", date=DAY)).rows["raw/sales"]


def test_a_day_of_no_byte_is_an_empty_day_where_those_are_normal(tmp_path: Path) -> None:
    assert run(case_of(tmp_path, b"", min_rows=0)) == 0


def test_a_day_of_no_byte_is_told_where_rows_are_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"sales of {DAY}: rule not_empty: 0 rows, at least 1 are expected"):
        run(case_of(tmp_path, b""))


def test_columns_twice_or_without_a_name_matter_only_where_the_contract_names_them(tmp_path: Path) -> None:
    header, row = CSV.splitlines()[:2]
    more = f"{header},,,other,other\n{row},,,1,2\ns-x,east,1,,2026-05-20T08:00:00Z,,,3,4\n".encode()
    case = case_of(tmp_path, more, max_quarantined=0.5)
    assert run(case) == 1
    # And what is set apart has all of them
    kept = case.lake.read(Dataset(Layer.QUARANTINE, "sales").on(DAY)).to_pylist()
    assert len(kept) == 1
    assert {"3", "4"} <= set(kept[0].values())
    # But a column of the contract is there once
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=f"sales of {DAY}: .*column amount: 2 columns have this name"):
        run(case_of(tmp_path / "other", f"{header},amount\n{row},7\n".encode()))


def test_names_that_look_like_nothing_are_names(tmp_path: Path) -> None:
    rows = "".join(
        f"s-{n},north,1,{note},2026-05-20T08:00:00Z\n"
        for n, note in enumerate(["NA", '"NA"', "None", "null", "", '""'])
    )
    case = case_of(tmp_path, f"id,shop,amount,note,at\n{rows}".encode())
    run(case)
    notes = case.lake.read(Dataset(Layer.RAW, "sales").on(DAY))["note"].to_pylist()
    assert notes == ["NA", "NA", "None", "null", None, ""]
