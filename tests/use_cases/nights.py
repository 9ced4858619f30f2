"""A night of a use case without Airflow: its steps one after the other, from extract to score."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from include.settings import Settings
from include.step import Context, Result, open_context
from include.steps.choose import ChooseArguments, choose
from include.steps.extract import ExtractArguments, extract
from include.steps.register import RegisterArguments, register
from include.steps.score import ScoreArguments, score
from include.steps.train import TrainArguments, train
from include.steps.validate import ValidateArguments, validate
from spark_jobs.features import FeaturesArguments, features


def opened(package: str, folder: Path) -> Context:
    """The use case on a lake and a registry in a folder."""
    return open_context(
        package,
        Settings(
            lake=str(folder / "lake"),
            artifacts=str(folder / "artifacts"),
            tracking_url=SecretStr(f"sqlite:///{folder / 'mlflow.db'}"),
        ),
    )


def night(context: Context, day: date) -> dict[str, Result]:
    """What each step said, from extract to score."""
    asked: dict[str, Any] = {"use_case": context.use_case.spec.package, "date": day}
    said = {
        "extract": extract(context, ExtractArguments(**asked)),
        "features": features(context, FeaturesArguments(**asked)),
        "validate": validate(context, ValidateArguments(**asked)),
    }
    for name in context.use_case.spec.candidates:
        said[f"train {name}"] = train(context, TrainArguments(**asked, candidate=name))
    said["choose"] = choose(context, ChooseArguments(**asked))
    said["register"] = register(context, RegisterArguments(**asked))
    return said | {"score": score(context, ScoreArguments(**asked))}
