"""A sample: one row that serving was asked, and its answer; serving writes it, the pipeline reads it.

A sample is a line of JSON in `samples/<use case>/date=YYYY-MM-DD/<time>-<random>.jsonl.gz`, and its date is that of the
answer in UTC. Files appear whole and are never changed, so no manifest is needed: whatever is there can be read.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import msgspec

SUFFIX = ".jsonl.gz"


class Sample(msgspec.Struct, gc=False, omit_defaults=True, rename={"class_": "class"}):
    """One row of one answered request.

    `at` is when it was answered (UTC), `version` the model version that answered, `row` its place in the request from
    0. `inputs` are the raw feature values as they were sent, null where one was not known, except that true and false
    are 1 and 0, as they are to the model: a column of mixed kinds is hard to read. The answer follows, in the columns
    of its task: `probability`; `class` and `probabilities`; or `prediction`.
    """

    at: datetime
    version: str
    request_id: str
    row: int
    inputs: dict[str, Any]
    probability: float | None = None
    class_: str | None = None
    probabilities: dict[str, float] | None = None
    prediction: float | None = None


def use_case_folder(use_case: str) -> str:
    """Where the samples of a use case are."""
    return f"samples/{quote(use_case, safe='')}"


def day_folder(use_case: str, day: date) -> str:
    """Where the samples of a use case's day (UTC) are."""
    return f"{use_case_folder(use_case)}/date={day.isoformat()}"
