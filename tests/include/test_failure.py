"""A programming error is final and names its line; what a retry may heal is a fault. Errors are real ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from include.errors import CodeError, DataError, ExitCode, FaultError, SettingsError, StepError
from include.failure import failure

LABEL = '''"""A use case's module: each function fails in the line after its name."""
import json
import socket
import pandas as pd
import pyarrow as pa

def column(rows):
    return rows["dep_dealy"]
def attribute(rows):
    return rows.dep_dealy.mean()
def argument(rows):
    return rows.head(5, 5, 5)
def name(rows):
    return row
def cast(rows):
    return rows.astype({"delay": "int64"})
def divided(rows):
    return 1 / 0
def arrow(rows):
    return pa.table({"a": [1], "b": [1, 2]})
def own(rows):
    raise RuntimeError("a case nobody thought of")
def merged(rows):
    return rows.merge(rows, on="nothing")
def away(rows):
    return socket.create_connection(("127.0.0.1", 1), timeout=1)
def half_an_answer(rows):
    return json.loads('{"rows": [')
def stumbled(rows):
    try:
        away(rows)
    except OSError as error:
        return error.nonsense
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A use case's package `shop` outside this project."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "label.py").write_text(LABEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def caught(function: str) -> Exception:
    """What a function of the use case raises."""
    rows = pd.DataFrame({"delay": ["1", "late"]})
    try:
        getattr(importlib.import_module("shop.label"), function)(rows)
    except Exception as error:
        return error
    raise AssertionError(f"{function} raised nothing")


def line_after(name: str) -> int:
    return next(number for number, line in enumerate(LABEL.splitlines(), 1) if line.startswith(f"def {name}(")) + 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("column", "KeyError: 'dep_dealy'"),
        ("attribute", "AttributeError: 'DataFrame' object has no attribute 'dep_dealy'"),
        ("argument", "TypeError: "),
        ("name", "NameError: name 'row' is not defined"),
        ("cast", "ValueError: invalid literal for int() with base 10: 'late'"),
        ("divided", "ZeroDivisionError: division by zero"),
        ("arrow", "ArrowInvalid: "),
        ("own", "RuntimeError: a case nobody thought of"),
        ("merged", "KeyError: 'nothing'"),
    ],
)
def test_an_error_of_the_use_cases_code_is_final_and_names_its_line(shop: Path, function: str, says: str) -> None:
    told = failure(caught(function), "shop")
    assert told.code is ExitCode.BAD_CODE
    assert told.code.final
    assert told.message.startswith(f"{shop}/label.py:{line_after(function)}: {says}")


@pytest.mark.parametrize("function", ["away", "half_an_answer", "stumbled"])
def test_what_a_retry_may_heal_is_a_fault(shop: Path, function: str) -> None:
    told = failure(caught(function), "shop")
    assert told.code is ExitCode.FAULT
    assert told.unforeseen, "its traceback is wanted in the log"


def test_a_module_that_cannot_be_parsed_names_its_own_line(shop: Path) -> None:
    (shop / "features.py").write_text("a = 1\nb = = 2\n")
    with pytest.raises(SyntaxError) as raised:
        importlib.import_module("shop.features")
    told = failure(raised.value, "shop")
    assert told.code is ExitCode.BAD_CODE
    assert told.message.startswith(f"{shop}/features.py:2: SyntaxError: invalid syntax")


def test_an_import_that_fails_names_the_line_that_asks_for_it(shop: Path) -> None:
    (shop / "features.py").write_text("import os\nimport torchh\n")
    with pytest.raises(ImportError) as raised:
        importlib.import_module("shop.features")
    told = failure(raised.value, "shop")
    assert told.code is ExitCode.BAD_CODE
    assert told.message.startswith(f"{shop}/features.py:2: ModuleNotFoundError: No module named 'torchh'")


def test_an_error_of_our_own_names_the_deepest_line_of_this_project() -> None:
    with pytest.raises(pa.ArrowTypeError) as wrong:
        pa.array([1, "x"], pa.string())
    told = failure(wrong.value)
    assert told.code is ExitCode.BAD_CODE
    assert told.message.startswith("tests/include/test_failure.py:")


def test_an_error_told_in_text_by_another_process_names_its_line(shop: Path) -> None:
    # Given what Spark tells of a Python worker
    error = CodeError("KeyError: 0")
    error.add_note(f'Traceback:\n  File "/lib/worker.py", line 9, in main\n  File "{shop}/label.py", line 8, in f')
    assert failure(error, "shop").message.startswith(f"{shop}/label.py:8: KeyError: 0")


@pytest.mark.parametrize("kind", [DataError, FaultError, SettingsError, StepError])
def test_a_line_that_was_written_for_people_stays_as_it_is(kind: type[StepError]) -> None:
    told = failure(kind("one clear line"), "no.such.package")
    assert (told.message, told.code, told.unforeseen) == ("one clear line", kind.exit_code, False)


def test_memory_that_is_short_is_a_fault() -> None:
    assert failure(MemoryError(), "").code is ExitCode.FAULT
