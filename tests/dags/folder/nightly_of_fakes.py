"""The real nightly DAG (Airflow looks for this word), every step's module replaced by one that only reports."""

from __future__ import annotations

from dataclasses import replace

from include import step_specs

FAKE = "tests.dags.fake_step"

for name, step in list(vars(step_specs).items()):
    if isinstance(step, step_specs.StepSpec):
        setattr(step_specs, name, replace(step, module=FAKE))
setattr(step_specs, "NIGHTLY", tuple(replace(step, module=FAKE) for step in step_specs.NIGHTLY))  # noqa: B010

from dags.nightly_training import nightly_training  # noqa: E402
from plugins.deployment import use_cases  # noqa: E402

dags = [nightly_training(spec) for spec in use_cases()]
