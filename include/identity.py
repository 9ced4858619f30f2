"""What decides a result besides the partitions it is made from: named hashes among its manifest's inputs.

The table in docs/architecture.md shows what an edit makes out of date.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from formats.partition import dataset_of, day_of
from include.code import fingerprint, requirements_file
from include.modelling.estimators.named import OURS, distribution
from include.use_case import UseCaseSpec

CODE = "code"
CONTRACT = "contract"
ESTIMATOR = "estimator"
GATES = "gates"
LABEL = "label"
LIBRARIES = "libraries"
LOOKUP = "lookup"
RECIPE = "recipe"
SETTING = "setting"
SOURCE = "source"
TASK = "task"

JUDGING = (
    "freshness",
    "max_nulls",
    "max_quarantined",
    "min_rows",
    "min_volume",
    "note",
    "references",
    "volume_band",
)
"""Fields of a contract and its columns that judge a day and change no row of it."""
FITTING = ("numpy", "onnx", "scikit-learn", "scipy")
"""The libraries whose versions decide a model file's bytes."""


def raw(spec: UseCaseSpec, contract: Any, configured: str = "") -> dict[str, str]:
    """What decides a topic's raw rows: its contract, and the code and the settings (if any) that read the source.

    The records themselves do not count, nor does any version: an upgrade must not reread years of data.
    """
    return {
        CONTRACT: digest(contract, without=JUDGING),
        SOURCE: digest(
            # Contracts are compared one by one, and of spec.py only what cuts records into days.
            [_code(spec.package, "sources", without=("contracts", "spec"), files=False), spec.timezone, spec.day_starts]
        ),
        **({SETTING: configured} if configured else {}),
    }


def features(spec: UseCaseSpec) -> str:
    """What decides features: the use case's code, and Spark's minor version, which may change a value."""
    minor = ".".join(_version("pyspark").split(".")[:2])
    own = "".join(f", {library}" for library in requirements(spec))
    return f"{fingerprint(spec.package, 'features', 'feature_contract')} spark {minor}{own}"


def candidate(spec: UseCaseSpec, recipe: Any, gates: Any) -> dict[str, str]:
    """What a candidate is made from: recipe and judging window, task and label, slices, fitting code, and libraries."""
    return {
        **_judged(spec),
        **_estimator(recipe.estimator),
        RECIPE: f"{recipe.fingerprint}/{spec.holdout_days}d",
        GATES: digest([gates.slices, gates.min_slice_rows]),
        CODE: fingerprint("include.modelling", "training", "portable"),
        LIBRARIES: _fitting(spec),
    }


def decision(spec: UseCaseSpec, gates: Any) -> dict[str, str]:
    """What decides a judgement besides its candidates: the gates, and what an opponent is fitted with."""
    return {
        **_judged(spec),
        GATES: digest(gates),
        CODE: fingerprint("include.modelling", "training", "judgement"),
        LIBRARIES: _fitting(spec),
    }


def _judged(spec: UseCaseSpec) -> dict[str, str]:
    """What a model has to predict."""
    classes = f": {', '.join(spec.classes)}" if spec.classes else ""
    return {LABEL: _code(spec.package, "label"), TASK: f"{spec.task}{classes}"}


def _estimator(name: str) -> dict[str, str]:
    """The version of the library that an estimator is of, or the code of a use case's own; nothing for ours."""
    if name in OURS:
        return {}
    if library := distribution(name):
        return {ESTIMATOR: f"{library} {_version(library)}"}
    package, _, module = name.rpartition(".")[0].rpartition(".")
    return {ESTIMATOR: _code(package, module)}


def lookup(spec: UseCaseSpec) -> dict[str, str]:
    """What makes a lookup file of predictions."""
    return {LOOKUP: _code(spec.package, "lookup")}


def requirements(spec: UseCaseSpec) -> list[str]:
    """The packages that the use case's own requirements.txt names, each with its version here."""
    path = requirements_file(spec.package)
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    names = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line.strip()) for line in lines)
    return sorted(f"{name[0]} {_version(name[0])}" for name in names if name)


def partitions(inputs: Mapping[str, str]) -> dict[str, str]:
    """Those of a manifest's inputs that are partitions."""
    return {name: sha256 for name, sha256 in inputs.items() if day_of(name)}


def differences(published: Mapping[str, str], present: Mapping[str, str]) -> str:
    """The ingredients that differ, in words; empty if none does. Many days of a dataset are one word."""
    names = sorted(published.keys() | present.keys())
    found = [name for name in names if published.get(name) != present.get(name)]
    return ", ".join(dict.fromkeys(dataset_of(name) for name in found))


def digest(value: Any, *, without: tuple[str, ...] = ()) -> str:
    """A hash of a value that is data: settings, contracts, tuples of them; without the fields of those names."""
    return hashlib.sha256(json.dumps(_plain(value, without), sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any, without: tuple[str, ...]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(each, without) for name, each in fields.items() if name not in without}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(each, without) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, without) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return f"{value.__module__}.{value.__qualname__}" if isinstance(value, Callable | type) else value  # type: ignore[arg-type]


def _code(package: str, module: str, **options: Any) -> str:
    """The module's fingerprint; a part that was put together without a file has none."""
    try:
        return fingerprint(package, module, **options)
    except ModuleNotFoundError:
        return "no file"


def _fitting(spec: UseCaseSpec) -> str:
    return ", ".join([*(f"{name} {_version(name)}" for name in FITTING), *requirements(spec)])


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "unknown"
