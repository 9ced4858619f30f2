"""`airflow_settings.yaml`: connections, pools and variables, in the Astro CLI's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.errors import SettingsError
from include.settings import PLAIN, PREFIX, OperatorSettings, Settings, load_settings, unknown_setting
from include.step_specs import PodRuntime
from local.stack import Stack, load_stack

VARIABLE = PREFIX.lower()
SETTABLE = {*PLAIN, *OperatorSettings.model_fields} - {"secrets_dir"}
"""The settings that a variable may hold; the rest are secrets, which no file here holds."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AirflowConnection(_Entry):
    """One Airflow connection; `conn_uri` only counts when nothing else is given."""

    conn_id: str
    conn_type: str = ""
    conn_host: str = ""
    conn_schema: str = ""
    conn_login: str = ""
    conn_password: str = ""
    conn_port: int = 0
    conn_uri: str = ""
    conn_extra: dict[str, Any] | str = ""

    def imported(self) -> str | dict[str, Any]:
        """What `airflow connections import` reads."""
        if not self.conn_type:
            return self.conn_uri
        extra = self.conn_extra if isinstance(self.conn_extra, str) else json.dumps(self.conn_extra)
        return {
            "conn_type": self.conn_type,
            "host": self.conn_host,
            "schema": self.conn_schema,
            "login": self.conn_login,
            "password": self.conn_password,
            "port": self.conn_port or None,
            "extra": extra or None,
        }


class AirflowPool(_Entry):
    """One Airflow pool."""

    pool_name: str
    pool_slot: int = Field(gt=0)
    pool_description: str = ""


class Variable(_Entry):
    """One Airflow variable; the Astro CLI takes text only."""

    variable_name: str
    variable_value: str


class _Airflow(_Entry):
    connections: tuple[AirflowConnection, ...] = ()
    pools: tuple[AirflowPool, ...] = ()
    variables: tuple[Variable, ...] = ()


class _Document(_Entry):
    airflow: _Airflow


@dataclass(frozen=True)
class SettingsFile:
    """The file's content, checked."""

    connections: tuple[AirflowConnection, ...]
    pools: tuple[AirflowPool, ...]
    variables: Mapping[str, str]

    def imports(self) -> dict[str, dict[str, Any]]:
        """The documents for `airflow connections|pools|variables import`, by command."""
        return {
            "connections": {entry.conn_id: entry.imported() for entry in self.connections},
            "pools": {
                pool.pool_name: {
                    "slots": pool.pool_slot,
                    "description": pool.pool_description,
                    "include_deferred": False,
                }
                for pool in self.pools
            },
            "variables": dict(self.variables),
        }

    def overrides(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables that `NIGHTSHIFT_*` environment variables set or replace, with their values."""
        given = {f"{VARIABLE}{name}": environment.get(f"{PREFIX}{name.upper()}") for name in sorted(SETTABLE)}
        return {name: value for name, value in given.items() if value is not None}

    def settings(self, environment: Mapping[str, str]) -> Settings:
        """The settings that steps will see: the file's variables under the environment's."""
        values = {name: value for name, value in self.variables.items() if name.startswith(VARIABLE)}
        values |= self.overrides(environment)
        runtime = values.get(f"{VARIABLE}pod_runtime", "")
        if runtime not in list(PodRuntime):
            raise SettingsError(f"{PREFIX}POD_RUNTIME={runtime}: set {' or '.join(PodRuntime)}")
        known = Settings.variables()
        return load_settings({name.upper(): value for name, value in values.items() if name.upper() in known})

    def reached_at(self, stack: Stack, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment with the addresses of the stack's serving API and Airflow, unless it or this file names
        others."""
        found = dict(environment)
        for field, port in (("serving_url", stack.serving_port), ("airflow_url", stack.airflow_port)):
            name, default = f"{PREFIX}{field.upper()}", Settings.model_fields[field].default
            named = environment.get(name) or self.variables.get(name.lower()) or default
            if named == default != (own := stack.url(port)):
                found[name] = own
        return found

    def effective(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """The value of each setting, by name: the environment's, else this file's, else the default."""
        stack = load_stack(environment)
        of_the_operator = {
            name: environment.get(f"{PREFIX}{name.upper()}") or self.variables.get(f"{VARIABLE}{name}")
            for name in OperatorSettings.model_fields
        }
        return {**of_the_operator, **dict(self.settings(self.reached_at(stack, environment))), **dict(stack)}


def read_settings_file(path: Path) -> SettingsFile:
    """The settings file, or a `SettingsError` that names the entry that is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise SettingsError(f"{path.name} is empty or no mapping: everything in it belongs under `airflow:`")
        document = _Document.model_validate(content)
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path.name}: {where}: {first['msg']}") from None
    entries = document.airflow
    for connection in entries.connections:
        if not (connection.conn_type or connection.conn_uri):
            raise SettingsError(f"{path.name}: connection {connection.conn_id} needs conn_type or conn_uri")
    variables = {variable.variable_name: variable.variable_value for variable in entries.variables}
    known = {f"{VARIABLE}{name}" for name in SETTABLE}
    for name in variables:
        if name.startswith(VARIABLE) and name not in known:
            raise SettingsError(f"{path.name}: variable {unknown_setting(name, known)}")
    return SettingsFile(entries.connections, entries.pools, variables)
