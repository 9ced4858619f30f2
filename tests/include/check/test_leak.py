"""A feature that knows the future is found and named; honest ones pass, and prove that they were looked at."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from include.check.leak import Proof, check_features
from include.check.made_up import MadeUp
from include.check.sample import read_sample
from include.settings import Settings
from include.step import open_context
from include.steps.extract import ExtractArguments, extract
from include.use_case import load_use_case
from tests.use_case_copy import FLIGHT_DELAY, ICE_CREAM, ROOT, Edits, copied

pytestmark = pytest.mark.spark

LAST = 'return plans.join(rates, "kiosk_day", "left").select('
TODAY = f"""today = raw["sales"].select("kiosk_day", F.col("sold").alias("sold_now"))
    plans = plans.join(today, "kiosk_day", "left").withColumn("forecast", F.expr("forecast + coalesce(sold_now, 0)"))
    {LAST}"""
WEEK = '(F.col("sold_on") < F.col("date")) & (F.col("sold_on") >= F.date_sub("date", SPEC.lookback_days))'


def checked(package: str, lake: Path) -> Proof:
    """What the leak check says of a package."""
    context = open_context(package, Settings(lake=str(lake)))
    return check_features(context, read_sample(context), SparkSession.getActiveSession())


@pytest.mark.parametrize("package", [ICE_CREAM, FLIGHT_DELAY])
def test_an_honest_use_case_has_no_finding_and_no_doubt(spark: SparkSession, tmp_path: Path, package: str) -> None:
    assert checked(package, tmp_path) == Proof()


def with_weather(known: str) -> Edits:
    """Ice cream with a topic of weather: each observation is known an hour later, once at half past midnight."""
    days = [date(2026, 5, 1) + timedelta(days=n) for n in range(61)]
    rows = [
        f"{day}-{hour},{day},{day}T{hour}:30:00+02:00,{day + timedelta(days=late)}T{known_at}:30:00+02:00,{hour}.5"
        for day in days
        for hour, known_at, late in (("12", "13", 0), ("23", "00", 1))
    ]
    contract = """RAW = {
    "weather": Contract(
        "weather",
        columns=(
            Column("reading", Kind.TEXT),
            Column("date", Kind.DATE),
            Column("observed_at", Kind.INSTANT),
            Column("known_at", Kind.INSTANT),
            Column("temperature", Kind.NUMBER, minimum=-20, maximum=50),
        ),
        key=("reading",),
        order=("reading",),
    ),"""
    feature = f"""seen = raw["weather"].selectExpr("observed_at", "known_at", "temperature")
    newest = days.join(seen, F.expr("{known} <= as_of")).groupBy("date")
    newest = newest.agg(F.expr("max_by(temperature, observed_at) as temperature"))
    plans = plans.join(newest, "date", "left").withColumn("forecast", F.expr("forecast + coalesce(temperature, 0)"))
    {LAST}"""
    files = '{"weather": Files("weather.csv", date_column="date"), "plans": Files'
    return {
        "data/weather.csv": "\n".join(["reading,date,observed_at,known_at,temperature", *rows]),
        "spec.py": ('Topic("sales"))', 'Topic("sales"), Topic("weather", known_at="known_at"))'),
        "contracts.py": ("RAW = {", contract),
        "sources.py": ('{"plans": Files', files),
        "features.py": (LAST, feature),
    }


def test_weather_that_was_known_is_no_leak(spark: SparkSession, tmp_path: Path) -> None:
    with copied(tmp_path, with_weather("known_at")) as package:
        assert checked(package, tmp_path / "lake") == Proof()


@pytest.mark.parametrize("known", ["observed_at", "as_of"], ids=["by when it was observed", "by its day alone"])
def test_weather_that_is_joined_without_known_at_is_a_leak(spark: SparkSession, tmp_path: Path, known: str) -> None:
    with copied(tmp_path, with_weather(known)) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == ["forecast"]
    assert "weather.temperature, which became known after as_of" in proof.findings[0].problem


@pytest.mark.parametrize(
    ("edits", "column", "moved_by"),
    [
        pytest.param({"features.py": (LAST, TODAY)}, "forecast", "sales.sold", id="an outcome of the same day"),
        pytest.param(
            {"features.py": (WEEK, WEEK.replace("<", "<=", 1))},
            "sold_out_rate",
            "sales.sold_out",
            id="a rolling mean that includes the day itself",
        ),
        pytest.param(
            {"features.py": (WEEK, "F.lit(True)")}, "sold_out_rate", "sales.sold_out", id="a mean over all days"
        ),
    ],
)
def test_a_planted_leak_is_found_by_name(
    spark: SparkSession, tmp_path: Path, edits: Edits, column: str, moved_by: str
) -> None:
    with copied(tmp_path, edits) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == [column]
    assert "knows the future" in proof.findings[0].problem
    assert moved_by in proof.findings[0].problem
    assert proof.doubts == []


TWO_HORIZONS: Edits = {
    "spec.py": (
        'Horizon("morning", day_offset=1),',
        'Horizon("morning", day_offset=1), Horizon("afternoon", day_offset=1)',
    )
}
AS_OF_DAYS = "[(day, SPEC.day_start(day)) for day in dates]"
AFTERNOON = """[
        (day, SPEC.day_start(day) + timedelta(hours=15) * (horizon == "afternoon")) for day in dates
    ]"""


def at_two_horizons(features: tuple[str, str], *more: tuple[str, str]) -> Edits:
    """Ice cream looked at in the morning and in the afternoon; features are edited."""
    text = (ROOT / "tests/use_cases/ice_cream/features.py").read_text().replace(ICE_CREAM, "copied")
    text = text.replace("import date\n", "import date, timedelta\n")
    for old, new in ((AS_OF_DAYS, AFTERNOON), features, *more):
        assert old in text
        text = text.replace(old, new)
    return {**TWO_HORIZONS, "features.py": text}


SAME_DAY_AT = """if horizon in {horizons}:
        {today}
    return plans.join(rates, "kiosk_day", "left").select("""


def leaking_at(*horizons: str) -> Edits:
    """The day's own sales are read at these horizons only."""
    today = TODAY.removesuffix(LAST).rstrip().replace("\n    ", "\n        ")
    return at_two_horizons((LAST, SAME_DAY_AT.format(horizons=horizons, today=today)))


@pytest.mark.parametrize("horizons", [("morning",), ("afternoon",), ("morning", "afternoon")])
def test_a_leak_is_told_of_each_horizon_that_has_it(
    spark: SparkSession, tmp_path: Path, horizons: tuple[str, ...]
) -> None:
    with copied(tmp_path, leaking_at(*horizons)) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == ["forecast"] * len(horizons)
    for finding, horizon in zip(proof.findings, horizons, strict=True):
        assert f"({horizon}, as_of " in finding.problem and "moves with sales.sold," in finding.problem
    assert proof.doubts == []


def test_a_horizon_whose_features_do_not_move_is_inconclusive_beside_one_that_does(
    spark: SparkSession, tmp_path: Path
) -> None:
    still = 'F.lit(1.0).alias("forecast"), F.lit(0.5).alias("sold_out_rate")'
    edits = at_two_horizons(
        (
            LAST,
            f"""if horizon == "afternoon":
        return plans.select(F.lit(horizon).alias("horizon"), "kiosk_day", "date", "kiosk", "as_of", {still})
    {LAST}""",
        )
    )
    with copied(tmp_path, edits) as package:
        proof = checked(package, tmp_path / "lake")
    assert proof.findings == []
    (doubt,) = proof.doubts
    assert doubt.startswith("afternoon, as_of ") and "moves no input of a candidate" in doubt


def test_a_topic_that_is_read_and_moves_nothing_is_inconclusive(spark: SparkSession, tmp_path: Path) -> None:
    nothing = WEEK.replace("SPEC.lookback_days", "0")  # sales of days before today, and not before today
    with copied(tmp_path, {"features.py": (WEEK, nothing)}) as package:
        proof = checked(package, tmp_path / "lake")
    assert proof.findings == []
    (doubt,) = proof.doubts
    assert doubt.startswith("morning, as_of ") and "changing what was known of sales moves no feature" in doubt


def test_a_topic_that_no_feature_asks_for_leaves_no_doubt(spark: SparkSession, tmp_path: Path) -> None:
    text = (ROOT / "tests/use_cases/ice_cream/features.py").read_text().replace(ICE_CREAM, "copied")
    for old, new in (('raw["sales"]', 'raw["plans"]'), ('F.col("sold_out").cast("int")', 'F.col("stock")')):
        text = text.replace(old, new)
    contract = ("required=False, minimum=0, maximum=1", "required=False")
    with copied(tmp_path, {"features.py": text, "feature_contract.py": contract}) as package:
        assert checked(package, tmp_path / "lake").doubts == []


def test_a_feature_that_looks_back_further_than_it_says_differs_in_a_range(spark: SparkSession, tmp_path: Path) -> None:
    with copied(tmp_path, {"features.py": ("SPEC.lookback_days)", "SPEC.lookback_days + 1)")}) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == ["sold_out_rate"]
    assert "computed alone" in proof.findings[0].problem and "lookback_days=7" in proof.findings[0].problem


def test_a_feature_of_chance_is_called_that_and_not_a_leak(spark: SparkSession, tmp_path: Path) -> None:
    random = '"as_of", (F.col("forecast") + F.rand()).alias("forecast"),'
    with copied(tmp_path, {"features.py": ('"as_of", "forecast",', random)}) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == ["forecast"]
    assert "chance" in proof.findings[0].problem


def test_features_that_depend_on_nothing_prove_nothing(spark: SparkSession, tmp_path: Path) -> None:
    constant = '"as_of", F.lit(1.0).alias("forecast"), F.lit(0.5).alias("sold_out_rate")'
    with copied(tmp_path, {"features.py": ('"as_of", "forecast", "sold_out_rate"', constant)}) as package:
        proof = checked(package, tmp_path / "lake")
    assert proof.findings == []
    assert "moves no input" in proof.doubts[0]


def test_a_failing_build_is_a_finding_at_its_line(spark: SparkSession, tmp_path: Path) -> None:
    with copied(tmp_path, {"features.py": ('"sold_out_rate"\n', '"sold_out_rat"\n')}) as package:
        proof = checked(package, tmp_path / "lake")
    assert proof.findings[0].where.startswith("features.py:")
    assert "sold_out_rat" in proof.findings[0].problem


@pytest.mark.parametrize("topic", ["plans", "sales"])
def test_made_up_records_keep_their_contract_and_are_the_same_again(topic: str) -> None:
    use_case = load_use_case(ICE_CREAM)
    made_up = MadeUp(use_case.spec, use_case.part("contracts").RAW)
    day = date(2026, 6, 1)
    rows = made_up.read(use_case.spec.topic(topic), day)
    assert rows.num_rows > 1 and set(rows["date"].to_pylist()) == {day}
    assert made_up.read(use_case.spec.topic(topic), day) == rows


def test_a_leak_is_found_on_made_up_records_where_the_source_is_away(spark: SparkSession, tmp_path: Path) -> None:
    away = 'raise FaultError("source: the server is away")\n    return TabularSource('
    imports = "from include.errors import FaultError\nfrom pathlib"
    with copied(tmp_path, {"sources.py": ("from pathlib", imports), "features.py": (WEEK, "F.lit(True)")}) as package:
        module = tmp_path / package / "sources.py"
        module.write_text(module.read_text().replace("return TabularSource(", away))
        context = open_context(package, Settings(lake=str(tmp_path / "lake")))
        sample = read_sample(context)
        proof = check_features(context, sample, spark)
    assert sample.origin.startswith("made-up records of") and "the server is away" in sample.origin
    assert [finding.field for finding in proof.findings] == ["sold_out_rate"]
    assert proof.doubts == []


def test_the_lake_is_looked_at_where_it_has_days(spark: SparkSession, tmp_path: Path) -> None:
    context = open_context(ICE_CREAM, Settings(lake=str(tmp_path)))
    extract(context, ExtractArguments(use_case=ICE_CREAM, date=date(2026, 6, 15)))
    sample = read_sample(context)
    assert sample.origin == "the lake, 2026-06-14"
    assert check_features(context, sample, spark) == Proof()
