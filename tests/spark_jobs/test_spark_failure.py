"""When Spark fails, a step's one line says why in Spark's words, also when Java is gone. Each is a real process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.errors import CodeError, ExitCode, FaultError
from include.failure import failure
from include.spark_failure import spark_failure

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.stack


# What Spark says of a query, while its process lives


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (lambda rows: rows.select("nonsense"), "`nonsense` cannot be resolved. Did you mean one of the following? "),
        (lambda rows: rows.select(F.col("text").cast("int")).collect(), "The value 'x' of the type"),
        (lambda rows: rows.select(F.col("number") / F.lit(0)).collect(), "[DIVIDE_BY_ZERO] Division by zero."),
        (lambda rows: rows.sample(2.0), "Sampling fraction (2.0) must be on interval"),
        (lambda rows: rows.sparkSession.sql("selec x"), "Syntax error at or near 'selec'"),
        (lambda rows: rows.select(F.udf(lambda value: {}[value])("number")).collect(), "KeyError: "),
    ],
)
def test_a_wrong_query_is_wrong_code(spark: SparkSession, query: Callable[[DataFrame], object], says: str) -> None:
    rows = spark.createDataFrame([(1, "x")], "number int, text string")
    with pytest.raises(PySparkException) as raised:
        query(rows)
    told = spark_failure(raised.value, spark.sparkContext._gateway.proc)
    assert isinstance(told, CodeError)
    assert says in str(told)
    assert "\n" not in str(told)
    told.with_traceback(raised.value.__traceback__)
    assert failure(told).message.startswith("tests/spark_jobs/test_spark_failure.py:")


def test_an_argument_that_pyspark_itself_refuses_is_an_error_like_any_other(spark: SparkSession) -> None:
    with pytest.raises(TypeError) as raised:
        spark.range(1).sample("x")
    assert spark_failure(raised.value, spark.sparkContext._gateway.proc) is None
    assert failure(raised.value).code is ExitCode.BAD_CODE


def test_a_path_that_went_is_a_fault(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(PySparkException) as raised:
        spark.read.parquet(str(tmp_path / "gone.parquet"))
    told = spark_failure(raised.value, spark.sparkContext._gateway.proc)
    assert isinstance(told, FaultError)
    assert re.fullmatch(r"spark: .*Path does not exist: .*gone.parquet.*run the step again", str(told))


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become a user without a name")
def test_a_user_without_a_name_is_told_so_before_java_starts() -> None:
    code = "import os; from include.spark import require_user_name; os.setuid(54321); require_user_name()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "SettingsError: spark: the user with uid 54321 has no name" in ended.stderr


# What is left of it when the process is gone


@pytest.mark.parametrize(
    ("act", "says"),
    [
        ("gone", r"spark: .*0\.parquet.* does not exist; .*run the step again"),
        ("killed", r"spark: its Java process was killed by signal 9; .*"),
        ("homeless", r"spark: no session at local\[2\]: its Java process ended with code \d+; .*"),
    ],
)
def test_a_step_whose_spark_fails_ends_in_one_line_and_the_code_for_a_fault(
    tmp_path: Path, act: str, says: str
) -> None:
    # Given a step that reads files in Spark, and something that goes wrong meanwhile
    # When it runs
    ended, told = run(tmp_path, act)
    # Then its line and its exit code say what it was
    assert re.fullmatch(says, told), told
    assert ended.returncode == ExitCode.FAULT, told


def test_no_cell_that_spark_quotes_begins_a_line_of_its_own(tmp_path: Path) -> None:
    ended, told = run(tmp_path, "quoted", text="x\nvalidate: 0 findings")
    shown = ended.stdout + ended.stderr
    assert "spark: ERROR" in shown
    assert "validate: 0 findings" in shown
    assert not [line for line in shown.splitlines() if line.startswith("validate")]
    assert "\n" not in told


def run(tmp_path: Path, act: str, text: str = "x") -> tuple[subprocess.CompletedProcess[str], str]:
    """The step, ended, and its termination message."""
    for number in range(3):
        pq.write_table(pa.table({"number": [1, 2], "text": [text, "y"]}), tmp_path / f"{number}.parquet")
    message = tmp_path / "message"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")} | {
        "PYTHONPATH": str(ROOT),
        "NIGHTSHIFT_LAKE": str(tmp_path / "lake"),
        "NIGHTSHIFT_SPARK_MASTER": "local[2]",
        "NIGHTSHIFT_TERMINATION_LOG": str(message),
    }
    if act == "homeless":
        environment["SPARK_LOCAL_DIRS"] = "/dev/full"
    argv = [sys.executable, "-m", "tests.spark_step", "--use-case=include.use_cases.flight_delay", "--date=2013-10-01"]
    ended = subprocess.run(
        [*argv, f"--act={act}", f"--folder={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended, message.read_text()
