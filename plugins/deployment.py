"""What a DAG file may know of the deployment when it is parsed: environment variables only, no database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter, ValidationError

from include.errors import SettingsError
from include.ingestion.timetable import Timetable, load_timetable
from include.packages import named_use_cases, packages
from include.use_case import UseCaseSpec, load_use_case

REPLAY = ("AIRFLOW_VAR_NIGHTSHIFT_REPLAY", "NIGHTSHIFT_REPLAY")


def use_cases(environment: Mapping[str, str] = os.environ) -> list[UseCaseSpec]:
    """The use cases that get DAGs: the dotted packages of `NIGHTSHIFT_USE_CASES`, separated by commas.

    A use case that cannot be loaded is left out here, and `broken_use_cases` reports it; the others keep their DAGs.
    """
    return [one for one in _loaded(environment) if isinstance(one, UseCaseSpec)]


def timetables(environment: Mapping[str, str] = os.environ) -> list[tuple[UseCaseSpec, Timetable]]:
    """The use cases with a timetable that can be read, and whose tables are their own."""
    return [(spec, timetable) for spec, timetable in _timetables(environment) if isinstance(timetable, Timetable)]


def broken_use_cases(environment: Mapping[str, str] = os.environ) -> list[SettingsError]:
    """Why use cases, or their timetables, have no DAGs."""
    timetables = [found for _, found in _timetables(environment)]
    return [error for error in (*_loaded(environment), *timetables) if isinstance(error, SettingsError)]


def _loaded(environment: Mapping[str, str]) -> Iterator[UseCaseSpec | SettingsError]:
    """Each use case named, or why there is none."""
    names: dict[str, str] = {}
    for package in dict.fromkeys(packages(named_use_cases(environment))):
        try:
            spec = load_use_case(package).spec
        except SettingsError as error:
            yield error
            continue
        if (other := names.setdefault(spec.name, package)) == package:
            yield spec
        else:
            yield SettingsError(
                f"use case {package!r}: spec.py: name={spec.name!r}: is the name of {other!r} too; choose another"
            )


def _timetables(environment: Mapping[str, str]) -> Iterator[tuple[UseCaseSpec, Timetable | SettingsError | None]]:
    """Each use case and its timetable, or why its workers may not run: all share one database."""
    owners: dict[str, str] = {}
    for spec in use_cases(environment):
        found = _timetable(spec)
        tables = [worker.writes for worker in found.workers] if isinstance(found, Timetable) else []
        taken = next((table for table in tables if table in owners), None)
        if taken is not None:
            found = SettingsError(
                f"use case {spec.package!r}: timetable.yaml: table {taken} is one of {owners[taken]!r} too; "
                "name another, here and in streams.py"
            )
        else:
            owners |= dict.fromkeys(tables, spec.package)
        yield spec, found


def _timetable(spec: UseCaseSpec) -> Timetable | SettingsError | None:
    try:
        return load_timetable(spec.package)
    except SettingsError as error:
        return SettingsError(f"use case {spec.package!r}: {error}")


def replay(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether sample data stands in for days after its end, so that the schedule has no last day."""
    value = next(filter(None, (environment.get(name) for name in REPLAY)), "false")
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        raise SettingsError(f"{REPLAY[1]}={value}: write true or false") from None
