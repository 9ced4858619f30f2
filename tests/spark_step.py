"""A step that uses Spark and fails as it is told; run by the tests of what Spark's failures are told as."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from include.spark import spark_session
from include.step import Context, Result, StepArguments, main


class Arguments(StepArguments):
    """How to fail, and a folder of Parquet files to read."""

    act: str
    folder: str


def fail(context: Context, arguments: Arguments) -> Result:
    """Fail in the middle of Spark's work."""
    with spark_session(context.settings, "failing") as spark:
        files = sorted(Path(arguments.folder).glob("*.parquet"))
        rows = spark.read.parquet(*map(str, files))
        if arguments.act == "gone":
            files[0].unlink()
            rows.selectExpr("sum(number)").collect()
        if arguments.act == "quoted":
            rows.selectExpr("sum(cast(text as int))").collect()
        if arguments.act == "killed":
            java = spark.sparkContext._gateway.proc.pid
            threading.Timer(0.5, lambda: os.kill(java, signal.SIGKILL)).start()
            spark.range(10**11).selectExpr("sum(id * id % 7)").collect()
    return Result()


if __name__ == "__main__":
    main(Arguments, fail)
