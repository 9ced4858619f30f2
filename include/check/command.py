"""`make check`: the static part for every requested use case, then the features of those without a mistake."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from include.check.apart import check_apart
from include.check.finding import Mistake
from include.check.package import check_package
from include.check.timer import Timer
from include.check.verdict import CheckVerdict
from include.errors import DataError, ExitCode, StepError
from include.packages import named_use_cases, packages

SPARK_ROWS = 20_000
"""This few rows are done before generated code pays."""
QUIET = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")
"""What PySpark logs of a failed query; the finding says it in a line."""


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Check the use cases, print the mistakes of each, and return the worst exit code."""
    parser = argparse.ArgumentParser(prog="python -m include.check", description=__doc__)
    named = named_use_cases(os.environ)
    parser.add_argument("--use-case", default="", help="dotted packages, separated by commas; NIGHTSHIFT_USE_CASES")
    parser.add_argument("--static", action="store_true", help="the package only, without its data and Spark")
    parser.add_argument("--verbose", action="store_true", help="also what was compared, and the seconds of each part")
    given = parser.parse_args(argv)
    codes = []
    for verdict in check(packages(given.use_case or named), static=given.static):
        print("\n".join(verdict.lines(verbose=given.verbose)), flush=True)
        codes.append(verdict.exit_code)
    return max(codes, default=ExitCode.DONE)


def check(named: Sequence[str], *, static: bool) -> Iterator[CheckVerdict]:
    """A verdict for each package, in order; Spark is started only for those without a mistake."""
    for package in named:
        clock = time.monotonic()
        verdict = static_verdict(package)
        if not verdict.mistakes and not static:
            verdict = replace(_looked_at(verdict), seconds=time.monotonic() - clock)
        yield verdict


def static_verdict(package: str) -> CheckVerdict:
    """The verdict on a package without its data, beside the others that this deployment runs, in a second."""
    clock = time.monotonic()
    mistakes = (*check_package(package), *check_apart(package, packages(named_use_cases(os.environ))))
    return CheckVerdict(package, mistakes, time.monotonic() - clock)


def _looked_at(verdict: CheckVerdict) -> CheckVerdict:
    """The verdict, with the behaviour of its functions, labels and features in the sample."""
    from include.check.called import check_called
    from include.check.candidates import check_candidates
    from include.check.labels import check_labels
    from include.check.leak import check_features
    from include.check.sample import read_sample
    from include.check.serving_part import check_mounted
    from include.spark import spark_session
    from include.step import open_context

    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    timer = Timer({"package": verdict.seconds})
    context = open_context(verdict.package)
    try:
        with timer.part("sample"):
            sample = read_sample(context)
    except DataError as error:
        return replace(verdict, leaks=(Mistake("sources.py", "source", str(error)),))
    except StepError:
        raise
    except Exception as error:  # the use case's own code
        return replace(verdict, leaks=(Mistake.of(error, verdict.package, "sources.py", "source"),))
    with timer.part("called"):
        called = [
            *check_called(context, sample),
            *check_candidates(context),
            *check_mounted(context.use_case),
        ]
    with timer.part("labels"):
        labels = check_labels(context, sample)
    clock = time.monotonic()
    with spark_session(context.settings, f"{context.use_case.name} check", rows=SPARK_ROWS) as spark:
        timer.seconds["Spark's start"] = time.monotonic() - clock
        proof = check_features(context, sample, spark, timer)
    return replace(
        verdict,
        leaks=(*called, *labels, *proof.findings),
        doubts=tuple(proof.doubts),
        notes=tuple(proof.notes),
        looked_at=sample.origin,
        times=str(timer),
    )
