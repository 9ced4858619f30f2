"""The static part: checks a use case's package before any step, in a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from include.check.finding import Mistake
from include.check.parts import Parts
from include.check.serving_part import check_serving
from include.check.source_text import SourceText, file_of, is_there
from include.check.tables import check_tables
from include.check.training import check_training
from include.check.workers import check_workers
from include.errors import SettingsError
from include.use_case import load_use_case

CALLED = {
    "sources": ("source", ("settings",)),
    "features": ("build", ("spark", "raw", "wanted")),
    "label": ("labels", ("outcomes", "known_by")),
}
"""The functions of a package, and what steps call them with."""
NAMED = {"contracts": "RAW", "feature_contract": "FEATURES", "candidates": "CANDIDATES", "gates": "GATES"}
"""The values of a package."""
MAY_LACK = ("lookup", "streams")
HEAVY = ("pyspark", "mlflow", "sklearn", "great_expectations", "torch", "tensorflow", "xgboost", "lightgbm")
"""Libraries that a step which only reads contracts and recipes must not load."""
LIGHT = ("contracts", "feature_contract", "candidates", "gates")


def check_package(named: str) -> Iterator[Mistake]:
    """Every mistake of a package that shows without its data; checks that need a broken module are left out."""
    try:
        use_case = load_use_case(named)
    except SettingsError as error:
        yield Mistake("spec.py", "SPEC", str(error))
        return
    package = use_case.spec.package
    texts: dict[str, SourceText] = {}
    for module in ("spec", *CALLED, *NAMED, *MAY_LACK):
        try:
            if text := _text(package, module):
                texts[module] = text
            elif module not in MAY_LACK:
                names = CALLED[module][0] if module in CALLED else NAMED[module]
                yield Mistake(f"{module}.py", names, "there is no such file; docs/adapting.md says what it holds")
        except SyntaxError as error:
            yield Mistake(f"{module}.py:{error.lineno}", "syntax", f"{error.msg}; correct the line")
    for module, text in texts.items():
        yield from _imports(package, module, text)
        yield from _names(module, text)
    parts = Parts(use_case, set(texts))
    for check in (check_tables, check_training, check_workers, check_serving):
        yield from check(use_case, parts)
    yield from parts.failures


def _text(package: str, module: str) -> SourceText | None:
    path = file_of(f"{package}.{module}")
    return SourceText.read(path, package) if path else None


def _names(module: str, text: SourceText) -> Iterator[Mistake]:
    """The names that a module must have, and how steps call them."""
    where = f"{module}.py"
    wanted = CALLED[module][0] if module in CALLED else NAMED.get(module)
    if wanted and wanted not in text.bound and not text.open_ended:
        yield Mistake(where, wanted, "is not in the module; docs/adapting.md says what it is")
    elif module in CALLED and (signature := text.functions.get(str(wanted))):
        given = CALLED[module][1]
        if not signature.takes(len(given)):
            has = ", ".join((*signature.names, *(f"{name} by keyword" for name in signature.keywords_required)))
            yield Mistake(
                f"{where}:{signature.line}", f"{wanted}({has})", f"steps call {wanted}({', '.join(given)}); take these"
            )


def _imports(package: str, module: str, text: SourceText) -> Iterator[Mistake]:
    for one in text.imports:
        where, name = f"{module}.py:{one.line}", f"import {one.module}"
        if module == "spec" and one.module not in ("include.use_case", f"{package}.spec"):
            if one.top not in sys.stdlib_module_names:
                yield Mistake(where, name, "spec.py is read by DAG files; import it where it is used, not here")
        elif not is_there(one.top):
            yield Mistake(where, name, f"no package {one.top} is installed; install it, or correct the name")
        elif one.top in HEAVY and module in LIGHT and one.at_start:
            yield Mistake(where, name, f"every step that reads {module}.py would load {one.top}; import it elsewhere")
        elif one.top not in sys.stdlib_module_names:
            yield from _own(package, where, one.module, one.name)


def _own(package: str, where: str, module: str, name: str) -> Iterator[Mistake]:
    """What a module imports of its own package, or of this repository."""
    path = file_of(module)
    folder = _use_case_of(module)
    if folder and folder != package:
        yield Mistake(where, f"import {module}", f"is of another use case, {folder}; import your own {package}")
    elif path is None and module.partition(".")[0] in (package.partition(".")[0], "include"):
        if not is_there(module):
            yield Mistake(where, f"import {module}", "there is no such module; correct the name")
    elif path and name and name != "*" and module.startswith(package):
        try:
            text = SourceText.read(path, module if path.name == "__init__.py" else module.rpartition(".")[0])
        except SyntaxError:
            return
        if name not in text.bound and not text.open_ended and file_of(f"{module}.{name}") is None:
            yield Mistake(where, f"import {name}", f"{module} names no {name}; correct the name")


def _use_case_of(module: str) -> str:
    """The use case of a module: the package above it that has a spec.py."""
    parts = module.split(".")
    above = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((name for name in above if file_of(f"{name}.spec")), "")
