"""A use case's timetable: who works when, as its `timetable.yaml` says. DAG files read it: no ML library here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from include.errors import SettingsError
from include.ingestion.shift_plan import ShiftPlan, Span

FILE = "timetable.yaml"


NAME = r"^[a-z][a-z0-9_]*$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedWorker(_Part):
    """One worker: the topic it consumes, the table it writes and when it may."""

    name: str = Field(pattern=NAME)
    topic: str
    writes: str
    shifts: ShiftPlan


class Scoring(_Part):
    """What follows each shift of one worker: examples due within `ahead` of the shift's end are scored at `horizon`.

    Its DAG is called `<use case>_<name>`.
    """

    name: str = Field(pattern=NAME)
    follows: str
    horizon: str
    ahead: Span
    at_most: Span


class NightlyTraining(_Part):
    """How long the nightly run is given in the plan of the day; it starts by the use case's cron."""

    at_most: Span


class Timetable(_Part):
    """All of a use case's work that has a time."""

    workers: tuple[PlannedWorker, ...] = ()
    scoring: Scoring | None = None
    nightly_training: NightlyTraining

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [worker.name for worker in self.workers]
        if len(names) != len(set(names)):
            raise ValueError(f"two workers have one name: {', '.join(names)}")
        if self.scoring and self.scoring.name in names:
            raise ValueError(f"scoring and a worker have one name: {self.scoring.name}")
        if self.scoring and self.scoring.follows not in names:
            raise ValueError(f"scoring follows {self.scoring.follows!r}, which is none of {', '.join(names)}")
        return self

    def worker(self, name: str) -> PlannedWorker:
        """The worker of that name."""
        return next(worker for worker in self.workers if worker.name == name)


def load_timetable(package: str) -> Timetable | None:
    """The timetable in a use case's package; None where it has none. `SettingsError` names what is wrong in it."""
    path = Path(str(importlib.import_module(package).__file__)).parent / FILE
    return read_timetable(path) if path.exists() else None


def read_timetable(path: Path) -> Timetable:
    """The timetable in a file."""
    try:
        return Timetable.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
