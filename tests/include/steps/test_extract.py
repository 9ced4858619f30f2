"""Extraction on real days and on bad ones, killed at any moment, twice at once, on a full disk and over S3."""

from __future__ import annotations

import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from include.errors import DataError, ExitCode, LakeError, SettingsError
from include.model_registry.versions import Draft, Registry, Role
from include.modelling.recipe import Estimator, Recipe
from include.settings import Settings
from include.sources.tabular import TabularSource
from include.steps.extract import ExtractArguments, check_day, extract
from include.storage.lake import Dataset, Lake, Layer, days_between
from include.storage.store import open_store
from tests.small_case import DAY, FIRST, SPEC, Tables, changed, sales, small_context
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]
SALES = Dataset(Layer.RAW, "sales")
PLANS = Dataset(Layer.RAW, "plans")
QUARANTINE = Dataset(Layer.QUARANTINE, "sales")
REAL_DAY = date(2013, 1, 12)
REAL_TOPICS = ("flights", "schedule", "weather")


def arguments(day: date = DAY, *, force: bool = False) -> ExtractArguments:
    return ExtractArguments(use_case="tests.small_case", date=day, force=force)


def command(day: date) -> list[str]:
    return [
        sys.executable,
        "-m",
        "include.steps.extract",
        "--use-case",
        "include.use_cases.flight_delay",
        "--date",
        str(day),
    ]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")}
    return kept | {"NIGHTSHIFT_LAKE": str(folder), "NIGHTSHIFT_TERMINATION_LOG": f"{folder}.message"} | more


def run(day: date, folder: Path, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    settings: dict[str, Any] = {"cwd": ROOT, "env": env or environment(folder), "capture_output": True, "text": True}
    settings |= more
    return subprocess.run(command(day), check=False, timeout=120, **settings)


def published(folder: Path) -> dict[str, bytes]:
    """Every published partition's files, as its manifest names them, checked against their hashes."""
    lake = Lake(open_store(str(folder)), "flight_delay")
    found = {}
    for layer in (Layer.RAW, Layer.QUARANTINE):
        for topic in REAL_TOPICS:
            for day in lake.days(Dataset(layer, topic)):
                partition = Dataset(layer, topic).on(day)
                found[str(partition)] = lake.require(partition).to_json()
                assert lake.read(partition).num_rows == lake.require(partition).rows
    return found


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run publishes."""
    folder = tmp_path_factory.mktemp("whole") / "lake"
    assert run(REAL_DAY, folder).returncode == ExitCode.DONE
    return published(folder)


# What a run publishes


def test_a_run_publishes_its_own_days_and_the_history_it_trains_on(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    result = extract(context, arguments())
    # From history and lookback (5 days) before D; plans of D + 1 too, because they are known ahead
    first = DAY - timedelta(days=5)
    assert context.lake.days(SALES) == days_between(first, DAY)
    assert context.lake.days(PLANS) == days_between(first, DAY + timedelta(days=1))
    assert result.rows == {"raw/plans": 20, "raw/sales": 20}
    assert result.facts["partitions_read"] == 13
    assert result.facts["history_days"] == 6


def test_history_begins_at_the_sources_first_day(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    extract(context, arguments(FIRST + timedelta(days=1)))
    assert context.lake.days(SALES)[0] == FIRST


def test_a_second_night_reads_only_what_is_missing(tmp_path: Path) -> None:
    source = Tables()
    context = small_context(tmp_path, source)
    extract(context, arguments())
    source.reads.clear()
    result = extract(context, arguments(DAY + timedelta(days=1)))
    assert sorted(source.reads) == [("plans", DAY + timedelta(days=2)), ("sales", DAY + timedelta(days=1))]
    assert result.facts["history_days"] == 0


def test_the_same_date_again_reads_nothing_and_changes_no_byte(tmp_path: Path) -> None:
    source = Tables()
    context = small_context(tmp_path, source)
    first = extract(context, arguments())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    source.reads.clear()
    again = extract(context, arguments())
    assert source.reads == []
    assert again.rows == first.rows
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_a_lake_that_is_away_is_not_begun_again_beside_the_models_made_from_it(
    tmp_path: Path, empty_registry: Path
) -> None:
    # Given a lake on a mount, a model that was made from it, and its mount away when the next step starts
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    context = small_context(tmp_path)
    settings = context.settings.model_copy(update={"tracking_url": SecretStr(f"sqlite:///{tmp_path / 'mlflow.db'}")})
    extract(replace(context, settings=settings), arguments(DAY))
    a_version(Registry.open(settings, "small"))
    (tmp_path / "lake").rename(tmp_path / "away")
    (tmp_path / "lake").mkdir()
    reopened = replace(context, settings=settings, lake=Lake.open(settings, "small"))

    # When a night runs, nothing is written where the mount belongs
    with pytest.raises(
        LakeError, match=r"MLflow has models made from it .the newest is version 1.; bring its mount back"
    ):
        extract(reopened, arguments(DAY))
    assert list((tmp_path / "lake").iterdir()) == []

    # Unless somebody says that the lake is to begin empty
    assert extract(reopened, arguments(DAY, force=True)).facts["partitions_read"] == 13


def a_version(registry: Registry) -> None:
    """Register a version of no matter which model."""
    registry.register(
        Draft(
            run_key="a",
            day=DAY,
            trained_through=DAY,
            candidate="trees",
            recipe=Recipe("trees", Estimator.HIST_GRADIENT_BOOSTING, ("age",), {}),
            role=Role.NIGHTLY,
            approved=True,
            model_uri="file:///lake/models/ab.onnx",
            sha256="ab",
            mlflow_run=registry.client.create_run("0").info.run_id,
        )
    )


def test_days_in_any_order_give_the_same_bytes_as_in_order(tmp_path: Path) -> None:
    days = days_between(DAY, DAY + timedelta(days=5))
    for name, order in (("ordered", days), ("shuffled", random.Random(3).sample(days, len(days)))):
        for day in order:
            extract(small_context(tmp_path / name), arguments(day))
    ordered, shuffled = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("ordered", "shuffled")
    )
    assert ordered == shuffled


def test_force_reads_the_runs_own_days_again_and_no_others(tmp_path: Path) -> None:
    source = Tables()
    context = small_context(tmp_path, source)
    extract(context, arguments())
    source.reads.clear()
    source.given["sales", DAY] = sales(DAY, 10)
    extract(context, arguments(force=True))
    assert sorted(source.reads) == [("plans", DAY), ("plans", DAY + timedelta(days=1)), ("sales", DAY)]
    assert context.lake.read(SALES.on(DAY)).num_rows == 10


# Bad data


def test_rows_that_break_a_rule_are_kept_in_quarantine_with_the_reason(tmp_path: Path) -> None:
    source = Tables(given={("sales", DAY): changed(sales(DAY), "amount", {3: -5.0, 4: 5000.0})})
    context = small_context(tmp_path, source)
    result = extract(context, arguments())
    quarantined = context.lake.read(QUARANTINE.on(DAY)).to_pylist()
    assert [(row["id"], row["amount"], row["_rule"], row["_reason"]) for row in quarantined] == [
        ("s-3", "-5.0", "range", "amount is below 0"),
        ("s-4", "5000.0", "range", "amount is above 1000"),
    ]
    assert context.lake.read(SALES.on(DAY)).num_rows == 18
    assert result.facts["quarantined"] == 2
    assert result.facts["breaches"] == {"range amount": 2}


def test_yesterdays_file_under_todays_name_stops_the_run_and_is_not_counted_twice(tmp_path: Path) -> None:
    # Given a supplier who delivers yesterday's sales again
    context = small_context(tmp_path, Tables(given={("sales", DAY): sales(DAY - timedelta(days=1))}), day="at")
    with pytest.raises(DataError) as raised:
        extract(context, arguments())
    assert (
        f"source: sales of {DAY}: rule day, column at: 20 of 20 rows (at is not of {DAY}, its partition's day), "
        "such as '2026-05-19T00:30:00+00:00'"
    ) in str(raised.value)
    # Then the day has no sales, and quarantine has the file
    assert context.lake.manifest(SALES.on(DAY)) is None
    assert context.lake.require(QUARANTINE.on(DAY)).rows == 20


def test_a_cell_or_a_name_that_would_forge_a_log_is_told_printable(tmp_path: Path) -> None:
    forged = "x\x1b[31m\nextract: all is well"
    for records in (
        with_column("amount", [forged] * 20),
        sales(DAY).rename_columns(["id", forged, "amount", "note", "at"]),
    ):
        context = small_context(tmp_path, Tables(given={("sales", DAY): records}))
        with pytest.raises(DataError, match=r"x\\x1b\[31m\\nextract") as raised:
            extract(context, arguments())
        assert str(raised.value).isprintable()


def test_a_row_of_another_day_is_set_apart_and_the_day_goes_on(tmp_path: Path) -> None:
    records = changed(sales(DAY), "at", {0: f"{DAY - timedelta(days=1)}T23:59:59.999999Z", 5: f"{DAY}T00:00:00Z"})
    context = small_context(tmp_path, Tables(given={("sales", DAY): records}), day="at")
    assert extract(context, arguments()).facts["breaches"] == {"day at": 1}
    assert context.lake.read(QUARANTINE.on(DAY))["id"].to_pylist() == ["s-0"]


def with_column(name: str, values: Any) -> pa.Table:
    return changed(sales(DAY), name, values)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (sales(DAY, 0), "rule not_empty: 0 rows, at least 1 are expected; deliver the day"),
        (sales(DAY).drop_columns(["shop"]), "rule column_present, column shop: not in the source, so all 20 rows"),
        (
            sales(DAY).rename_columns(["id", "store", "amount", "note", "at"]),
            "column shop: not in the source, so all 20 rows lack it; it has store instead: renamed?",
        ),
        (
            with_column("amount", [f"{n} EUR" for n in range(20)]),
            "rule type, column amount: 20 of 20 rows (amount is not a number), such as '0 EUR', '1 EUR', '2 EUR'",
        ),
        (
            with_column("id", ["s-1", "s-2"] * 10),
            "rule unique, column id: 18 of 20 rows (id was there before), such as 's-1', 's-2'",
        ),
        (
            with_column("amount", [1e12] * 3 + [1.0] * 17),
            "rule range, column amount: 3 of 20 rows (amount is above 1000), such as 1000000000000.0",
        ),
    ],
    ids=["empty", "missing", "renamed", "retyped", "duplicates", "absurd"],
)
def test_a_bad_day_is_told_in_one_line_with_rule_column_count_and_examples(
    tmp_path: Path, records: pa.Table, message: str
) -> None:
    context = small_context(tmp_path, Tables(given={("sales", DAY): records}))
    with pytest.raises(DataError) as raised:
        extract(context, arguments())
    assert str(raised.value).startswith(f"source: sales of {DAY}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code is ExitCode.BAD_DATA
    # And the day is not published
    assert context.lake.manifest(SALES.on(DAY)) is None


def test_a_day_with_too_many_bad_rows_leaves_them_for_inspection(tmp_path: Path) -> None:
    source = Tables(given={("sales", DAY): changed(sales(DAY), "shop", ["west"] * 20)})
    context = small_context(tmp_path, source)
    said = r"20 rows in quarantine are more than 10%: correct the source, or the contract .* see file://"
    with pytest.raises(DataError, match=said):
        extract(context, arguments())
    assert context.lake.read(QUARANTINE.on(DAY)).num_rows == 20


def test_when_the_source_is_mended_the_retry_clears_the_quarantine(tmp_path: Path) -> None:
    source = Tables(given={("sales", DAY): changed(sales(DAY), "shop", ["west"] * 20)})
    context = small_context(tmp_path, source)
    with pytest.raises(DataError):
        extract(context, arguments())
    source.given.clear()
    extract(context, arguments())
    assert context.lake.read(QUARANTINE.on(DAY)).num_rows == 0
    assert context.lake.read(SALES.on(DAY)).num_rows == 20


def test_a_topic_may_allow_days_without_a_record(tmp_path: Path) -> None:
    context = small_context(tmp_path, Tables(given={("sales", DAY): sales(DAY, 0)}), min_rows=0)
    # A table without rows has no types worth keeping
    assert extract(context, arguments()).rows["raw/sales"] == 0
    assert context.lake.read(SALES.on(DAY)).num_rows == 0


# Dates


@pytest.mark.stack
@pytest.mark.parametrize(
    ("day", "message"),
    [
        (
            date(2014, 5, 1),
            "data day 2014-05-01 is outside the data (2013-01-01 … 2013-12-30); choose a day inside"
            " or set NIGHTSHIFT_REPLAY=true",
        ),
        (date(2012, 12, 31), "data day 2012-12-31 is outside the data (2013-01-01 … 2013-12-30); choose a day inside"),
    ],
)
def test_a_date_outside_the_data_is_refused_before_any_work(tmp_path: Path, day: date, message: str) -> None:
    done = run(day, tmp_path / "lake")
    assert done.returncode == ExitCode.BAD_SETTINGS
    assert (tmp_path / "lake.message").read_text() == message
    assert not (tmp_path / "lake").exists()


def test_only_a_source_that_has_a_way_to_later_days_tells_of_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is outside the data \(.*\); choose a day inside$"):
        check_day(SPEC, Tables(), date(2026, 7, 1), datetime(2027, 1, 1, tzinfo=UTC))
    files = TabularSource(str(tmp_path), {}, first_day=FIRST, last_day=DAY)
    with pytest.raises(SettingsError, match=r"; choose a day inside or correct last_day of the source$"):
        check_day(SPEC, files, date(2026, 7, 1), datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(SettingsError, match=r"; choose a day inside$"):
        check_day(SPEC, files, date(2026, 4, 1), datetime(2027, 1, 1, tzinfo=UTC))


def test_a_day_that_is_not_over_is_refused_even_in_replay() -> None:
    source = Tables(last_day=date.max)
    over = datetime(2026, 5, 21, tzinfo=UTC)
    check_day(SPEC, source, DAY, over)
    with pytest.raises(
        SettingsError, match="data day 2026-05-20 is in the future or not over: it ends 2026-05-21T00:00"
    ):
        check_day(SPEC, source, DAY, over - timedelta(seconds=1))


# Faults


@pytest.mark.stack
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_a_random_moment_leaves_whole_partitions_and_its_retry_the_rest(
    tmp_path: Path, never_killed: dict[str, bytes], seed: int
) -> None:
    # Given a run that is killed at some moment of its work, before it is done
    folder, chance = tmp_path / "lake", random.Random(seed)
    files = chance.randrange(1, len(never_killed) // 2)
    child = subprocess.Popen(command(REAL_DAY), cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL)
    wait_until(lambda: sum(1 for _ in folder.rglob("*.parquet")) >= files, child)
    time.sleep(chance.uniform(0, 0.01))
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    # Then what it published is whole
    left = published(folder)
    assert left.items() <= never_killed.items()
    assert len(left) < len(never_killed)
    # And after the retry the lake is as if nobody had been killed
    assert run(REAL_DAY, folder).returncode == ExitCode.DONE
    assert published(folder) == never_killed


def wait_until(there: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert child.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.stack
def test_two_runs_of_one_date_at_once_publish_one_set_of_bytes(tmp_path: Path, never_killed: dict[str, bytes]) -> None:
    # When two processes extract the same day into one empty lake
    folder = tmp_path / "lake"
    children = [
        subprocess.Popen(command(REAL_DAY), cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL) for _ in "ab"
    ]
    # Then both are done, and the lake holds each partition once, as one run would have made it
    assert [child.wait(timeout=120) for child in children] == [ExitCode.DONE, ExitCode.DONE]
    assert published(folder) == never_killed
    files = list((folder / "flight_delay" / "raw").rglob("*.parquet"))
    assert len(files) == len([name for name in never_killed if name.startswith("raw/")])


@pytest.mark.stack
def test_sigterm_ends_a_run_with_one_line_and_the_code_for_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    child = subprocess.Popen(command(date(2013, 3, 1)), cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL)
    wait_until((folder / "flight_delay" / "raw").exists, child)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=PATIENCE) == ExitCode.FAULT
    assert (tmp_path / "lake.message").read_text() == "stopped by signal 15; nothing half-made was published"


@pytest.mark.stack
def test_a_disk_without_room_for_a_partition_is_one_clear_line(tmp_path: Path) -> None:
    # Given a process that may write no file greater than 8 KiB
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, 8 * 1024))

    done = run(REAL_DAY, tmp_path / "lake", preexec_fn=small_files)
    # Then it says so, and what it published is whole
    message = (tmp_path / "lake.message").read_text()
    assert done.returncode == ExitCode.FAULT
    assert message.startswith("lake: cannot write ")
    assert message.endswith(": File too large; free or repair it, then try again")
    assert not any(name.startswith("raw/flights") for name in published(tmp_path / "lake"))
    assert list((tmp_path / "lake").rglob(".part-*")) == []


@pytest.mark.stack
@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs the right to mount a small disk of its own (root)",
)
def test_a_really_full_disk_is_one_clear_line_and_shows_nothing_half_made(tmp_path: Path) -> None:
    # Given a disk of 300 KiB that only the child sees, and that is gone with it
    folder = tmp_path / "disk"
    folder.mkdir()
    look = (
        "import sys; sys.path.insert(0, '.'); from pathlib import Path\n"
        "from tests.include.steps.test_extract import published\n"
        f"print(len(published(Path({str(folder)!r}) / 'lake')))"
    )
    script = (
        f"mount -t tmpfs -o size=300k none {shlex.quote(str(folder))} && "
        f'{shlex.join(command(REAL_DAY))} >/dev/null 2>&1; echo code $?; {shlex.quote(sys.executable)} -c "$LOOK"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=ROOT,
        env=environment(folder / "lake", LOOK=look, NIGHTSHIFT_TERMINATION_LOG=str(tmp_path / "message")),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    # Then the step says so, and every partition that is published is whole
    assert "No space left on device; free or repair it" in (tmp_path / "message").read_text()
    code, whole = done.stdout.split()[1], int(done.stdout.split()[2])
    assert int(code) == ExitCode.FAULT
    assert 0 < whole < 36


@pytest.mark.stack
def test_a_lake_that_cannot_be_reached_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file where the lake should be")
    done = run(REAL_DAY, tmp_path / "lake")
    assert done.returncode == ExitCode.FAULT
    message = (tmp_path / "lake.message").read_text()
    assert message.startswith("lake: cannot read ")
    assert message.endswith("Not a directory; free or repair it, then try again")


@pytest.mark.slow
def test_an_s3_lake_out_of_reach_is_one_clear_line(tmp_path: Path, s3_credentials: None) -> None:
    settings = Settings(lake="s3://bucket/lake", s3_endpoint="http://127.0.0.1:9")
    context = small_context(tmp_path)
    remote = type(context)(settings, context.use_case, Lake.open(settings, "small"))
    with pytest.raises(LakeError, match=r"lake: cannot list s3://bucket/lake/small/raw/sales: .*is the endpoint up\?"):
        extract(remote, arguments())


def test_an_s3_lake_holds_what_a_folder_holds(tmp_path: Path, bucket: str, s3_endpoint: str) -> None:
    """Over moto, a mock of S3, behind real HTTP requests."""
    settings = Settings(lake=f"s3://{bucket}/lake", s3_endpoint=s3_endpoint)
    folder, remote = small_context(tmp_path), small_context(tmp_path)
    remote = type(remote)(settings, remote.use_case, Lake.open(settings, "small"))
    extract(folder, arguments())
    extract(remote, arguments())
    for day in folder.lake.days(SALES):
        assert remote.lake.manifest(SALES.on(day)) == folder.lake.manifest(SALES.on(day))
        assert remote.lake.read(SALES.on(day)).equals(folder.lake.read(SALES.on(day)))
    # And the second run finds it done
    assert extract(remote, arguments()).facts["partitions_read"] == 0


# The whole, on real data


@pytest.mark.stack
def test_a_real_day_is_extracted_with_its_result_and_report(tmp_path: Path, never_killed: dict[str, bytes]) -> None:
    folder = tmp_path / "lake"
    env = environment(folder, NIGHTSHIFT_RUN="dag/run 1/extract")
    done = subprocess.run(
        command(REAL_DAY), cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == ExitCode.DONE, done.stdout
    message = (tmp_path / "lake.message").read_text()
    assert len(message.encode()) <= 4096
    result = json.loads(message)
    assert result["rows"] == {"raw/flights": 690, "raw/schedule": 828, "raw/weather": 72}
    report = json.loads((folder / "flight_delay" / "runs" / "dag" / "run_1" / "extract.json").read_bytes())
    assert report["state"] == "done"
    assert report["result"] == result
    assert published(folder) == never_killed
