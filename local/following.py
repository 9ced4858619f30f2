"""The settings of the running stack: a command in another shell follows them, not its own shell alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from include.errors import SettingsError
from include.packages import first_package
from include.settings import KNOWN, PREFIX, RunVariables, StackSettings, is_secret
from local.airflow import DAG_PROCESSOR, SCHEDULER
from local.airflow import SERVER as AIRFLOW_SERVER
from local.mlflow import SERVER as MLFLOW_SERVER
from local.processes import Process
from local.serving import SERVER as SERVING_SERVER

_PORTS = {name for name in StackSettings.model_fields if name.endswith("_port")}
_EVERYWHERE = StackSettings.model_fields.keys() - _PORTS | {"lake", "artifacts", "s3_endpoint", "secrets_dir"}
_ALL = KNOWN - RunVariables.model_fields.keys() - _PORTS | {"airflow_port"}
BOUND: Mapping[str, Set[str]] = {
    AIRFLOW_SERVER: _ALL,
    SCHEDULER: _ALL,
    DAG_PROCESSOR: _ALL,
    MLFLOW_SERVER: _EVERYWHERE | {"mlflow_port"},
    SERVING_SERVER: _EVERYWHERE | {"serving_port"},
    "postgres": _EVERYWHERE | {"postgres_port"},
}
"""The settings that cannot change while a process runs. Those that only a night reads may differ between nights."""

Read = Callable[[Mapping[str, str]], Mapping[str, Any]]
"""The value of each setting, by name: the environment's, else the settings file's, else the default."""


@dataclass(frozen=True)
class Followed:
    """The running stack's environment, and where this shell differs."""

    environment: Mapping[str, str]
    taken: Mapping[str, str]
    """The variables that this shell does not set."""
    differing: tuple[str, ...]
    """A line for each variable that this shell sets to something else."""

    def require_same(self) -> None:
        """Refuse, in one line, to act on a stack that is not the one this shell describes."""
        if self.differing:
            raise SettingsError(f"{self.differing[0]}; unset it to go on with that stack, or `make down` first")


def follow(environment: Mapping[str, str], running: Iterable[Process], read: Read) -> Followed:
    """The environment of this shell, with what the running processes were started with."""
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    followed = dict(environment)
    differing: dict[str, str] = {}
    for process in running:
        if process.settings is None:
            continue
        started, wanted = read(process.settings), read({**process.settings, **given})
        for name in BOUND.get(process.name, ()):
            variable = f"{PREFIX}{name.upper()}"
            if variable in given and not _same(process, name, started.get(name), wanted.get(name)):
                differing.setdefault(variable, _line(variable, given[variable], started.get(name)))
            if variable in differing:
                followed.pop(variable, None)
            if variable in process.settings and (variable in differing or variable not in given):
                followed[variable] = process.settings[variable]
    taken = {name: value for name, value in followed.items() if environment.get(name) != value}
    return Followed(followed, taken, tuple(differing[name] for name in sorted(differing)))


def _same(process: Process, name: str, started: Any, wanted: Any) -> bool:
    if name == "use_cases" and BOUND[process.name] is not _ALL:
        return first_package(started) == first_package(wanted)
    return bool(started == wanted)


def _line(variable: str, wanted: str, started: Any) -> str:
    if is_secret(variable.removeprefix(PREFIX).lower()):
        return f"{variable} is not what the running stack was started with"
    return f"{variable}={wanted}, but the running stack was started with {started}"
