from __future__ import annotations

from collections import Counter

import pytest

from docs.reference.steps import DAGS
from include.step_specs import NIGHTLY, Data, StepSpec
from include.use_cases.flight_delay.spec import SPEC

STEPS = [step for steps in DAGS.values() for step in steps]
FROM_OUTSIDE = {Data.SOURCE, Data.MESSAGES}
"""Nobody writes the source. Collectors publish messages (docs/ingestion.md); they run beside the DAGs."""
OF_EARLIER_RUNS = {Data.CHAMPION, Data.MODELS}
"""What a night finds from the night before; the first one finds none."""


def test_each_dataset_has_one_writer() -> None:
    writers = Counter(data for step in STEPS for data in step.writes)
    assert writers == Counter(set(Data) - FROM_OUTSIDE)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_what_a_step_reads_is_written_by_some_step_or_comes_from_outside(step: StepSpec) -> None:
    assert set(step.reads) <= FROM_OUTSIDE | {data for other in STEPS for data in other.writes}


def test_a_night_writes_a_dataset_before_it_reads_it() -> None:
    written = FROM_OUTSIDE | OF_EARLIER_RUNS
    for step in NIGHTLY:
        assert set(step.reads) <= written, step.name
        written |= set(step.writes)


def test_a_family_has_a_dataset_for_each_of_the_use_cases_own_names() -> None:
    assert Data.RAW.names(SPEC) == ["raw/schedule", "raw/flights", "raw/weather"]
    assert Data.FEATURES.names(SPEC) == ["features/nightly", "features/two_hours"]
    assert Data.CHAMPION.names(SPEC) == ["champion"]
