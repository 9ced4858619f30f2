"""Spark's own words for a failure, read while its Java process lives."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import (
    AnalysisException,
    ArithmeticException,
    ArrayIndexOutOfBoundsException,
    DateTimeException,
    IllegalArgumentException,
    PySparkException,
    PythonException,
    SparkRuntimeException,
    UnsupportedOperationException,
)

from include.errors import CodeError, FaultError, StepError

OUT_OF_MEMORY = 52
"""The exit code by which Spark's Java process says that its memory did not suffice."""
LAST_MOMENTS_SECONDS = 2

_OF_CODE = (
    AnalysisException,
    ArithmeticException,
    ArrayIndexOutOfBoundsException,
    DateTimeException,
    IllegalArgumentException,
    PythonException,
    SparkRuntimeException,
    UnsupportedOperationException,
)
"""Errors of a query itself, which would happen again."""
_STATE = re.compile(r"\s*SQLSTATE: \w+")
_NOT_THERE = "[PATH_NOT_FOUND]"


def spark_failure(error: Exception, java: subprocess.Popen[bytes]) -> StepError | None:
    """Spark's failure in its own words, as the right kind of error; None if the error is not Spark's.

    Call it before the Java process ends: Spark's errors fetch their texts from it.
    """
    if isinstance(error, Py4JError | OSError) and _ended(java):
        return FaultError(f"spark: {_end_of(java)}")
    if isinstance(error, Py4JJavaError):
        return FaultError(f"spark: {_with_remedy(_causes_text(error.java_exception))}")
    if isinstance(error, PythonException):
        return _noted(CodeError(_last_line(str(error))), error)
    origin = getattr(error, "_origin", None)
    if origin is None or not isinstance(error, PySparkException):
        return None  # an error of PySpark's own is an error like any other
    text = _causes_text(origin)
    if isinstance(error, _OF_CODE) and _NOT_THERE not in text:
        return _noted(CodeError(text), error)
    return FaultError(f"spark: {_with_remedy(text)}")


def _noted(told: StepError, error: PySparkException) -> StepError:
    """With all that Spark said: a query's plan, or the traceback of a Python worker, which has its files and lines."""
    told.add_note(str(error).split("JVM stacktrace", 1)[0].strip())
    return told


def _ended(java: subprocess.Popen[bytes]) -> bool:
    try:
        java.wait(LAST_MOMENTS_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end_of(java: subprocess.Popen[bytes]) -> str:
    code = java.returncode
    if code == OUT_OF_MEMORY:
        return "its Java process ran out of memory; give the step more, or let it read fewer days at once"
    if code < 0:
        return f"its Java process was killed by signal {-code}; if memory was short, give the step more"
    return f"its Java process ended with code {code}; the lines above say why"


def _causes_text(java_exception: Any) -> str:
    """The first line of the exception, and of its cause, unless the first includes that."""
    first, *causes = _chain(java_exception)
    said = _first_line(first.getMessage() or first.toString())
    if not causes:
        return said
    cause = _first_line(causes[-1].toString())
    if said.startswith("Job aborted"):  # where in the cluster it happened is in the log
        return cause
    return said if cause in said else f"{said}: {cause}"


def _chain(java_exception: Any) -> Iterator[Any]:
    while java_exception is not None:
        yield java_exception
        java_exception = java_exception.getCause()


def _first_line(text: str) -> str:
    return _STATE.sub("", text.strip().split("\n", 1)[0]).strip(" ;")


def _last_line(text: str) -> str:
    """What a Python worker's traceback ends in."""
    return text.split("JVM stacktrace", 1)[0].strip().rpartition("\n")[2].strip()


def _with_remedy(text: str) -> str:
    if "No space left on device" in text:
        return f"{text}; free space in {tempfile.gettempdir()}, where Spark keeps what does not fit in memory"
    if _NOT_THERE in text or "FILE_NOT_EXIST" in text:
        return f"{text}; it went while the job ran: run the step again"
    return text
