"""A step that does nothing but say what it was told, so that the DAGs can be run without data."""

from __future__ import annotations

import os
from datetime import date

from include.errors import DataError, SkippedError
from include.step import Context, Result, StepArguments, main

BAD_DAY = date(2013, 10, 2)


class Arguments(StepArguments):
    """Any step's arguments."""

    candidate: str = ""
    candidates: str = ""


def fake(context: Context, arguments: Arguments) -> Result:
    """Report the arguments; on the bad day, let validation fail."""
    if arguments.candidates and arguments.candidate not in arguments.candidates.split(","):
        raise SkippedError(f"{arguments.candidate} was not asked for")
    if arguments.date == BAD_DAY and os.environ["NIGHTSHIFT_RUN"].endswith("/validate"):
        raise DataError("raw/flights: 3 rows break the rule 'distance'; look at the source")
    return Result(rows={"raw/flights": 3}, metrics={"auc": 0.75}, facts=arguments.model_dump(mode="json"))


if __name__ == "__main__":
    main(Arguments, fake)
