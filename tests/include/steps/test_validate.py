"""The gate: what is wrong is told with rule, column, count and examples; hard failures stop, soft ones warn."""

from __future__ import annotations

import json
import re
import socket
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pytest

from include.errors import DataError
from include.quality.conform import conform
from include.quality.findings import Check, QualityReport, Severity
from include.settings import Settings
from include.step import Context
from include.steps import extract as extracting
from include.steps.validate import ValidateArguments, validate
from include.storage.lake import Dataset, Lake, Layer, days_between
from tests.small_case import DAY, SALES, Tables, changed, plans, publish_features, sales, small_context

pytestmark = pytest.mark.slow

RAW_SALES = Dataset(Layer.RAW, "sales")
PLANS = Dataset(Layer.RAW, "plans")
MORNING = Dataset(Layer.FEATURES, "morning")
BEGIN = DAY - timedelta(days=5)


def arguments(day: date = DAY, *, force: bool = False) -> ValidateArguments:
    return ValidateArguments(use_case="tests.small_case", date=day, force=force)


def ready(folder: Path, given: dict[tuple[str, date], pa.Table] | None = None, **contract: Any) -> Context:
    """A lake with raw data and features of DAY and its history."""
    context = small_context(folder, Tables(given=given or {}), **contract)
    extracting.extract(context, extracting.ExtractArguments(use_case="tests.small_case", date=DAY))
    for day in days_between(BEGIN, DAY):
        publish_features(context.lake, day)
    return context


def overwrite(lake: Lake, table: pa.Table, day: date = DAY) -> None:
    """Put sales into the lake that extract would not have let in."""
    lake.publish(RAW_SALES.on(day), {"rows.parquet": table}, force=True)


def good(table: pa.Table) -> pa.Table:
    return conform(table, SALES, "test").good


def report(lake: Lake, name: str, day: date = DAY) -> QualityReport:
    return QualityReport.from_dict(json.loads(lake.read_file(Dataset(Layer.QUALITY, name).on(day), "report.json")))


def test_good_data_passes_with_its_reports_and_data_docs(tmp_path: Path) -> None:
    context = ready(tmp_path)
    result = validate(context, arguments())
    assert result.rows == {"raw/sales": 20, "raw/plans": 20, "features/morning": 20}
    assert result.metrics["warnings"] == 0
    assert result.facts["history_days"] == 6
    for name in ("raw-sales", "features-morning"):
        assert report(context.lake, name).findings == ()
    assert len(result.to_json().encode()) < 4096


def test_data_docs_open_without_a_network_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    context = ready(tmp_path)
    overwrite(context.lake, changed(good(sales(DAY)), "id", {0: "x-1", 1: "x-2"}))
    index = Path(unquote(urlparse(validate(context, arguments()).uris["data_docs"]).path))
    # The front page tells the finding
    assert "at least 100% of them are in plans of the same day" in index.read_text()
    assert "x-1, x-2" in index.read_text()
    # No page fetches anything from elsewhere, and every relative link of it is there
    pages = list(index.parent.rglob("*.html"))
    assert {"raw-sales", "raw-sales-history", "features-morning"} <= {page.parents[2].name for page in pages}
    for page in pages:
        text = page.read_text()
        assert not re.search(r"<script|<link|src=.http", text)
        for link in re.findall(r'href="([^"#]+)"', text):
            assert link.startswith("http") or (page.parent / link).is_file(), (page, link)


HARD = [
    (
        changed(good(sales(DAY)), "amount", {1: -1.0, 2: 5000.0}),
        "rule range, column amount: 2 of 20 rows, such as -1.0, 5000.0; from 0 to 1000",
    ),
    (
        changed(good(sales(DAY)), "shop", {1: "west"}),
        "rule one_of, column shop: 1 of 20 rows, such as west; one of north, south",
    ),
    (changed(good(sales(DAY)), "id", {1: "S 1"}), "rule pattern, column id: 1 of 20 rows, such as S 1"),
    (changed(good(sales(DAY)), "id", {1: "s-0"}), "rule unique, column id: 2 of 20 rows, such as s-0"),
    (changed(good(sales(DAY)), "amount", {1: None, 2: None}), "rule required, column amount: 2 of 20 rows"),
    (
        changed(good(sales(DAY)), "note", pa.nulls(20, pa.string())),
        "rule nulls, column note: 20 of 20 rows; at most 90% empty",
    ),
    (
        changed(good(sales(DAY)), "amount", [str(n) for n in range(20)]),
        "raw-sales: rule type, column amount: 20 of 20 rows; in the lake it is string, in the contract double",
    ),
    (
        good(sales(DAY)).drop_columns(["shop"]),
        "rule columns, column shop: 20 of 20 rows; in the lake it",
    ),
    (good(sales(DAY, 3)), "rule volume: 3 of 3 rows; at least 4 rows, where a usual day has 20"),
    (
        good(sales(DAY - timedelta(days=1))),
        "rule freshness, column at: 20 of 20 rows, such as 2026-05-19 23:30:00+00:00; the newest is at most 12",
    ),
    (
        changed(good(sales(DAY)), "id", [f"x-{n}" for n in range(20)]),
        "rule reference, column id: 20 of 20 rows, such as x-0, x-1, x-10; at least 50% of them are in plans",
    ),
]
HARD_NAMES = "range one_of pattern unique required nulls type missing volume freshness reference"


@pytest.mark.parametrize(("table", "message"), HARD, ids=HARD_NAMES.split())
def test_a_hard_failure_stops_the_run_in_one_line(tmp_path: Path, table: pa.Table, message: str) -> None:
    context = ready(tmp_path)
    overwrite(context.lake, table.sort_by("id"))
    with pytest.raises(DataError) as raised:
        validate(context, arguments())
    assert message in str(raised.value)
    assert "nothing downstream runs, see file://" in str(raised.value)
    assert "\n" not in str(raised.value)
    # And the report says the same
    assert report(context.lake, "raw-sales").failures


@pytest.mark.parametrize(
    ("table", "check"),
    [
        (good(sales(DAY, 8)), Check.VOLUME),
        (good(sales(DAY).slice(0, 17)), Check.FRESHNESS),
        (changed(good(sales(DAY)), "id", {0: "x-1", 1: "x-2"}), Check.REFERENCE),
    ],
)
def test_a_soft_one_warns_and_the_run_goes_on(tmp_path: Path, table: pa.Table, check: Check) -> None:
    context = ready(tmp_path)
    overwrite(context.lake, table)
    result = validate(context, arguments())
    assert result.metrics["warnings"] == 1
    assert f"rule {check}" in result.facts["warnings"][0]
    assert [finding.check for finding in report(context.lake, "raw-sales").warnings] == [check]


def test_what_validation_quotes_is_printable(tmp_path: Path) -> None:
    context = ready(tmp_path)
    overwrite(context.lake, changed(good(sales(DAY)), "shop", {1: "x\x1b[31m\nvalidate: 0 findings"}))
    with pytest.raises(DataError, match=r"such as x\\x1b\[31m\\nvalidate: 0 findings; one of north, south") as raised:
        validate(context, arguments())
    assert str(raised.value).isprintable()


def test_few_features_out_of_range_warn_and_many_stop(tmp_path: Path) -> None:
    context = ready(tmp_path)
    publish_features(context.lake, DAY, [30] * 39 + [200])
    warning = validate(context, arguments()).facts["warnings"][0]
    assert warning.startswith("features-morning: rule range, column age: 1 of 40 rows, such as 200")
    publish_features(context.lake, DAY, [30] * 15 + [200] * 5)
    with pytest.raises(DataError, match="features-morning: rule range, column age: 5 of 20 rows, such as 200"):
        validate(context, arguments())


def test_a_feature_that_is_missing_stops_the_run(tmp_path: Path) -> None:
    context = ready(tmp_path)
    table = context.lake.read(MORNING.on(DAY)).drop_columns(["age"])
    context.lake.publish(MORNING.on(DAY), {"rows.parquet": table}, force=True)
    with pytest.raises(DataError, match=r"rule columns, column age: .* missing, in the contract int64"):
        validate(context, arguments())


def test_features_that_are_not_there_are_named(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    extracting.extract(context, extracting.ExtractArguments(use_case="tests.small_case", date=DAY))
    with pytest.raises(
        DataError, match="features/morning/data_day=2026-05-20 is not published; run the step that makes"
    ):
        validate(context, arguments())


def test_rows_of_another_day_stop_the_run(tmp_path: Path) -> None:
    context = ready(tmp_path, day="at")
    overwrite(context.lake, good(changed(sales(DAY), "at", {3: f"{DAY + timedelta(days=1)}T00:00:00Z"})))
    with pytest.raises(DataError) as raised:
        validate(context, arguments())
    assert (
        "raw-sales: rule day, column at: 1 of 20 rows, such as 2026-05-21 00:00:00+00:00; "
        "of 2026-05-20, its partition's day"
    ) in str(raised.value)


def test_a_partition_with_fewer_rows_than_the_contract_asks_for_stops_the_run(tmp_path: Path) -> None:
    context = ready(tmp_path, min_rows=18)
    overwrite(context.lake, good(sales(DAY, 17)))
    with pytest.raises(DataError, match=r"raw-sales: rule not_empty: 17 of 17 rows; at least 18 rows, by the contract"):
        validate(context, arguments())


def test_rows_in_quarantine_are_rows_of_the_source(tmp_path: Path) -> None:
    records = changed(sales(DAY), "amount", {1: -1.0})
    assert validate(ready(tmp_path, {("sales", DAY): records}, min_rows=20), arguments()).rows["raw/sales"] == 19


def test_features_without_a_row_stop_the_run_even_in_a_lake_without_history(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    extracting.extract(context, extracting.ExtractArguments(use_case="tests.small_case", date=DAY))
    publish_features(context.lake, DAY, [])
    with pytest.raises(DataError, match=r"features-morning: rule not_empty: 0 of 0 rows; at least 1 rows"):
        validate(context, arguments())


def test_a_day_without_examples_needs_no_features(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    extracting.extract(context, extracting.ExtractArguments(use_case="tests.small_case", date=DAY))
    context.lake.publish(PLANS.on(DAY), {"rows.parquet": context.lake.read(PLANS.on(DAY)).slice(0, 0)}, force=True)
    publish_features(context.lake, DAY, [])
    with pytest.raises(DataError):  # for none of the day's sales was planned
        validate(context, arguments())
    assert report(context.lake, "features-morning").findings == ()


# History


def test_older_rows_of_another_day_warn_once_and_stop_no_night(tmp_path: Path) -> None:
    # Given a lake that is older than the rule: yesterday's sales lie in the day before as well
    context = ready(tmp_path, day="at")
    overwrite(context.lake, good(sales(DAY - timedelta(days=1))), DAY - timedelta(days=2))
    # Then the run goes on, and says which day it is
    warnings = validate(context, arguments()).facts["warnings"]
    assert any(
        line.startswith(
            "raw-sales-history: rule day, column at: 20 of 100 rows, such as 20 of the rows in 2026-05-18; "
            "of their partition's day; deliver those days again"
        )
        for line in warnings
    )


def test_history_that_no_run_looked_at_is_checked_once(tmp_path: Path) -> None:
    # Given a bad day in history that extract did not make
    context = ready(tmp_path)
    overwrite(context.lake, changed(good(sales(BEGIN)), "amount", {4: 7777.0}), BEGIN)
    # Then the first run finds it
    with pytest.raises(DataError, match=r"raw-sales-history: rule range, column amount: 1 of 100 rows, such as 7777.0"):
        validate(context, arguments())
    # And after it is mended the next run looks at no more than is new
    overwrite(context.lake, good(sales(BEGIN)), BEGIN)
    assert validate(context, arguments()).facts["history_days"] == 6
    extracting.extract(context, extracting.ExtractArguments(use_case="tests.small_case", date=DAY + timedelta(days=1)))
    publish_features(context.lake, DAY + timedelta(days=1))
    assert validate(context, arguments(DAY + timedelta(days=1))).facts["history_days"] == 0


def test_a_day_of_history_that_was_made_again_is_looked_at_again(tmp_path: Path) -> None:
    context = ready(tmp_path)
    validate(context, arguments())
    overwrite(context.lake, good(sales(BEGIN + timedelta(days=1), 19)), BEGIN + timedelta(days=1))
    extracting.extract(context, extracting.ExtractArguments(use_case="tests.small_case", date=DAY + timedelta(days=1)))
    publish_features(context.lake, DAY + timedelta(days=1))
    assert validate(context, arguments(DAY + timedelta(days=1))).facts["history_days"] == 1


def test_an_odd_day_in_history_warns(tmp_path: Path) -> None:
    odd = DAY - timedelta(days=1)
    context = ready(tmp_path, {("sales", odd): sales(odd, 5), ("plans", odd): plans(odd, 20)})
    warnings = validate(context, arguments()).facts["warnings"]
    assert any(
        "raw-sales-volume: rule volume: 1 of 5 rows, such as 2026-05-19 with 5 rows" in line for line in warnings
    )


# Doing it again


def test_the_same_date_again_is_quick_and_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ready(tmp_path)
    first = validate(context, arguments())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    monkeypatch.setattr("include.quality.inspection.Inspection.__init__", None)  # nobody may inspect anything
    again = validate(context, arguments())
    assert again == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_another_contract_is_held_to_the_day_and_its_history(tmp_path: Path) -> None:
    # Given a night that passed
    validate(ready(tmp_path), arguments())

    # When notes may be empty less often, and the day is validated again
    stricter = small_context(tmp_path, max_nulls={"note": 0.1})
    with pytest.raises(DataError, match="column note"):
        validate(stricter, arguments())

    # And when the next night has another contract, its history is looked at by that one too
    looser = small_context(tmp_path, max_nulls={"note": 0.95})
    extracting.extract(looser, extracting.ExtractArguments(use_case="tests.small_case", date=DAY + timedelta(days=1)))
    publish_features(looser.lake, DAY + timedelta(days=1))
    validate(looser, arguments(DAY + timedelta(days=1)))
    assert report(looser.lake, "raw-sales", DAY + timedelta(days=1)).history_days == 5


def test_a_day_is_validated_again_when_the_topic_it_refers_to_is_another(tmp_path: Path) -> None:
    context = ready(tmp_path)
    validate(context, arguments())
    context.lake.publish(Dataset(Layer.RAW, "plans").on(DAY), {"rows.parquet": plans(DAY, 3)}, force=True)

    with pytest.raises(DataError, match="plans"):
        validate(context, arguments())


def test_force_validates_again_to_the_same_report(tmp_path: Path) -> None:
    context = ready(tmp_path)
    validate(context, arguments())
    quality = tmp_path / "lake" / "small" / "quality"
    before = {path: path.read_bytes() for path in quality.rglob("*.*") if path.is_file()}
    validate(context, arguments(force=True))
    assert {path: path.read_bytes() for path in quality.rglob("*.*") if path.is_file()} == before


def test_a_day_that_failed_is_validated_anew_when_it_is_mended(tmp_path: Path) -> None:
    context = ready(tmp_path)
    overwrite(context.lake, changed(good(sales(DAY)), "amount", {1: -1.0}))
    for _ in range(2):
        with pytest.raises(DataError):
            validate(context, arguments())
    overwrite(context.lake, good(sales(DAY)))
    result = validate(context, arguments())
    assert result.metrics["warnings"] == 0
    assert report(context.lake, "raw-sales").failures == []
    # And the front page still links the pages of what had passed before
    assert "validations/features-morning/" in Path(unquote(urlparse(result.uris["data_docs"]).path)).read_text()


def test_validation_calls_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine from which no connection can be made
    called: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: called.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: called.append(address))
    # Then nothing even tries
    validate(ready(tmp_path), arguments())
    assert called == []


def test_a_report_comes_back_from_its_data() -> None:
    given = {
        "partition": "raw/sales/data_day=2026-05-20",
        "rows": 1,
        "history_days": 0,
        "history_rows": 0,
        "checks": 3,
        "findings": [
            {
                "dataset": "raw-sales",
                "check": "range",
                "column": "amount",
                "severity": "hard",
                "rows": 1,
                "broken": 1,
                "expected": "at least 0",
                "examples": ["-1.0"],
            }
        ],
    }
    made = QualityReport.from_dict(given)
    assert json.loads(json.dumps(made.to_dict())) == given
    assert made.failures[0].severity is Severity.HARD


def test_over_s3_it_finds_and_publishes_the_same(tmp_path: Path, bucket: str, s3_endpoint: str) -> None:
    """Over moto, a mock of S3, behind real HTTP requests."""
    local = ready(tmp_path)
    settings = Settings(lake=f"s3://{bucket}/lake", s3_endpoint=s3_endpoint)
    remote = Context(settings, local.use_case, Lake.open(settings, "small"))
    extracting.extract(remote, extracting.ExtractArguments(use_case="tests.small_case", date=DAY))
    for day in days_between(BEGIN, DAY):
        publish_features(remote.lake, day)
    result = validate(remote, arguments())
    assert result.rows == validate(local, arguments()).rows
    assert report(remote.lake, "raw-sales") == report(local.lake, "raw-sales")
    assert result.uris["data_docs"] == f"s3://{bucket}/lake/small/data_docs/data_day=2026-05-20/index.html"
    assert b"<h1>" in remote.lake.get("data_docs/data_day=2026-05-20/index.html")
