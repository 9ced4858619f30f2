"""What a use case adds to the server: the modules `part` and `settings` in its folder `serving`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from formats.variables import VariableError, VariablesModel
from include.check.finding import Mistake, MistakeError
from include.check.parts import Parts
from include.check.source_text import SourceText, file_of, is_there
from include.use_case import UseCase

FOLDER = "serving"
PART, SETTINGS = f"{FOLDER}/part.py", f"{FOLDER}/settings.py"
NAMED = {"part": "PART", "settings": "SETTINGS"}
MOUNTED_WITH = ("published", "telemetry", "settings")
ABSENT = ("airflow", "boto3", "mlflow", "pandas", "pyarrow", "pyspark", "sklearn")
"""Libraries that the server's image does not have."""


def check_serving(use_case: UseCase, _: Parts) -> Iterator[Mistake]:
    """What the folder's text shows: a module or name that is missing, and imports that the server's image lacks."""
    package = f"{use_case.spec.package}.{FOLDER}"
    if not is_there(package):
        return
    if file_of(f"{package}.part") is None:
        yield Mistake(PART, "PART", "there is no such file; docs/serving/lookups.md says what it holds")
    folder = file_of(package)
    for path in sorted(folder.parent.glob("*.py")) if folder else ():
        yield from _text(path, package)


def _text(path: Path, package: str) -> Iterator[Mistake]:
    where = f"{FOLDER}/{path.name}"
    try:
        text = SourceText.read(path, package)
    except SyntaxError as error:
        yield Mistake(f"{where}:{error.lineno}", "syntax", f"{error.msg}; correct the line")
        return
    name = NAMED.get(path.stem)
    if name and name not in text.bound and not text.open_ended:
        yield Mistake(where, name, "is not in the module; docs/serving/lookups.md says what it is")
    for one in text.imports:
        at, field = f"{where}:{one.line}", f"import {one.module}"
        if one.top in ABSENT or (one.top not in sys.stdlib_module_names and not is_there(one.top)):
            yield Mistake(at, field, f"the server's image has no {one.top}; do without it")
        elif f"{one.module}.".startswith(f"{package.rpartition('.')[0]}.") and not f"{one.module}.".startswith(
            f"{package}."
        ):
            yield Mistake(at, field, f"is outside {FOLDER}/, which is all that the server imports; move it here")
        elif one.top == "include" and not f"{one.module}.".startswith(f"{package}."):
            yield Mistake(at, field, "is the pipeline's, which the server's image lacks; do without it")


def check_mounted(use_case: UseCase) -> Iterator[Mistake]:
    """What the server would make of the folder: it is imported here, and its settings are read from this shell."""
    package = f"{use_case.spec.package}.{FOLDER}"
    if not is_there(package):
        return
    for check in (_part, _settings):
        try:
            yield from check(package, use_case.name)
        except MistakeError as error:
            if error.mistake:
                yield error.mistake


def _part(package: str, use_case: str) -> Iterator[Mistake]:
    from serving.lookups.shape import Shape
    from serving.use_case_part import UseCasePart

    part = getattr(_imported(package, "part"), "PART", None)
    if not isinstance(part, UseCasePart):
        yield Mistake(PART, "PART", f"is a {type(part).__name__}; make it a UseCasePart")
        return
    if part.use_case != use_case:
        yield Mistake(PART, "PART.use_case", f"is {part.use_case!r}; write {use_case!r}, as spec.py names it")
    if not isinstance(part.shape, Shape):
        yield Mistake(PART, "PART.shape", f"is a {type(part.shape).__name__}; make it a Shape")
    if not callable(part.mount):
        yield Mistake(PART, "PART.mount", f"is a {type(part.mount).__name__}; name a function")
        return
    try:
        inspect.signature(part.mount).bind(*MOUNTED_WITH)
    except TypeError as error:
        yield Mistake(PART, "PART.mount", f"the server calls it with {', '.join(MOUNTED_WITH)}: {error}; take these")


def _settings(package: str, _: str) -> Iterator[Mistake]:
    from serving.settings import ServingSettings

    if not is_there(f"{package}.settings"):
        return
    model = getattr(_imported(package, "settings"), "SETTINGS", None)
    if not (isinstance(model, type) and issubclass(model, VariablesModel)):
        yield Mistake(SETTINGS, "SETTINGS", f"is a {type(model).__name__}; name a class of VariablesModel")
        return
    if getattr(model, "PREFIX", None) != ServingSettings.PREFIX:
        yield Mistake(SETTINGS, "PREFIX", f"is not {ServingSettings.PREFIX}, which the server looks for; write that")
        return
    for variable in set(model.variables()) & set(ServingSettings.variables()):
        yield Mistake(SETTINGS, "SETTINGS", f"{variable} is a setting of the server's own; choose another name")
    try:
        model.read(os.environ)
    except VariableError as error:
        yield Mistake(SETTINGS, "SETTINGS", f"{error}; correct the variable, or give the field a default")
    except Exception as error:  # the use case's own validators
        yield _of(error, package, SETTINGS, "SETTINGS")


def _imported(package: str, module: str) -> ModuleType:
    """A module of the folder. `MistakeError` where it fails."""
    try:
        return importlib.import_module(f"{package}.{module}")
    except Exception as error:  # a use case's module may raise anything
        raise MistakeError(_of(error, package, f"{FOLDER}/{module}.py", "import")) from error


def _of(error: Exception, package: str, file: str, field: str) -> Mistake:
    made = Mistake.of(error, package, "", field)
    return Mistake(f"{FOLDER}/{made.where}" if made.where else file, field, made.problem)
