"""A hash of code: what it covers, however a module is reached, and what it does not."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.code import fingerprint

Write = Callable[[dict[str, str]], Path]
PACKAGE = "sample_case"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / PACKAGE
    (folder / "tables").mkdir(parents=True)
    (folder / "deep").mkdir()
    for name in ("__init__", "deep/__init__"):
        (folder / f"{name}.py").touch()
    for name in ("words", "gates", "deep/words", "label"):
        (folder / f"{name}.py").write_text("WORD = 1\n")
    (folder / "tables" / "holidays.csv").write_text("day\n")
    (folder / "sales.csv").write_text("day\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return folder


def edited(folder: Path, path: str) -> bool:
    """Whether an edit of the file changes what features.py is known by."""
    before = fingerprint(PACKAGE, "features")
    file = folder / path
    file.write_text((file.read_text() if file.exists() else "") + "\nMORE = 2\n")
    return fingerprint(PACKAGE, "features") != before


@pytest.mark.parametrize(
    "code",
    [
        "from sample_case.words import WORD",
        "from sample_case import words",
        "from sample_case import gates, words as w",
        "import sample_case.words",
        "import sample_case.words as w",
        "from . import words",
        "from .words import WORD",
        "from sample_case import *",
        "from . import *",
        "import sample_case\nx = sample_case.words.WORD",
        "import sample_case as s\nx = s.words.WORD",
        "import importlib\nw = importlib.import_module('sample_case.words')",
        "from importlib import import_module\nw = import_module('.words', __package__)",
        "from importlib import import_module as load\nw = load('sample_case.' + 'words')",
        "import importlib\nload = importlib.import_module\nw = load('sample_case.words')",
        "import importlib\nname = 'words'\nw = importlib.import_module(f'sample_case.{name}')",
        "w = __import__('sample_case.words', fromlist=['WORD'])",
        "import pkgutil, sample_case\nall = list(pkgutil.iter_modules(sample_case.__path__))",
        "import runpy\nw = runpy.run_path('sample_case/words.py')",
        "exec(open('words.py').read())",
        "def late():\n    from sample_case.words import WORD\n    return WORD",
        "try:\n    from sample_case.words import WORD\nexcept ImportError:\n    WORD = 2",
    ],
)
def test_a_module_is_reached_by_every_way_of_importing(package: Path, code: str) -> None:
    (package / "features.py").write_text(code + "\n")
    assert edited(package, "words.py")


@pytest.mark.parametrize("path", ["features.py", "words.py", "__init__.py", "deep/__init__.py", "deep/words.py"])
def test_what_is_run_on_the_way_counts_too(package: Path, path: str) -> None:
    (package / "features.py").write_text("from sample_case.deep.words import WORD\n")
    (package / "deep" / "words.py").write_text("from ..words import WORD\n")
    assert edited(package, path)


@pytest.mark.parametrize("path", ["gates.py", "label.py", "sales.csv", "tables/holidays.csv", "notes.md", "new.py"])
def test_what_is_not_reached_does_not_count(package: Path, path: str) -> None:
    (package / "features.py").write_text("import sample_case.words\nfrom math import pi\nimport numpy as np\n")
    assert not edited(package, path)


def test_code_beside_the_package_counts_and_an_installed_library_does_not(package: Path) -> None:
    shared = package.parent / "shared_words.py"
    shared.write_text("WORD = 1\n")
    (package / "features.py").write_text("import numpy.linalg\nfrom shared_words import WORD\n")
    assert edited(package, "../shared_words.py")


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("TABLE = Path(__file__).parent / 'tables' / 'holidays.csv'", {"tables/holidays.csv"}),
        ("TABLE = Path(__file__).with_name('sales.csv')", {"sales.csv"}),
        ("TABLE = open('sample_case/tables/holidays.csv')", {"tables/holidays.csv"}),
        (
            "from importlib.resources import files\nT = files(__package__) / 'tables/holidays.csv'",
            {"tables/holidays.csv"},
        ),
        ("ALL = list((Path(__file__).parent / 'tables').iterdir())", {"tables/holidays.csv"}),
        ("def table(name): return Path(__file__).parent / f'{name}.csv'", {"tables/holidays.csv", "sales.csv"}),
        ("ALL = sorted(Path(__file__).parent.glob('*.csv'))", {"tables/holidays.csv", "sales.csv"}),
        ("def table(name): return Path(__file__).parent / name", {"tables/holidays.csv", "sales.csv"}),
        ("SALES = raw['sales']; TABLES = 'tables'", set()),
    ],
)
@pytest.mark.parametrize("path", ["tables/holidays.csv", "sales.csv"])
def test_a_file_of_the_package_counts_where_it_is_read(package: Path, code: str, counts: set[str], path: str) -> None:
    (package / "features.py").write_text(f"from pathlib import Path\n{code}\n")
    assert edited(package, path) is (path in counts)


def test_line_ends_and_a_byte_order_mark_do_not_count(package: Path) -> None:
    (package / "features.py").write_text("from pathlib import Path\nT = Path(__file__).parent / 'sales.csv'\n")
    before = fingerprint(PACKAGE, "features")
    for path in package.rglob("*.*"):
        mark = b"\xef\xbb\xbf" if path.suffix == ".py" else b""
        path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n"))
    assert fingerprint(PACKAGE, "features") == before


SPEC = """from include.use_case import UseCaseSpec
SPEC = UseCaseSpec(
    title="One",
    cron="15 1 * * *",
    history_days=40,
    timezone="UTC",  # of the data
)
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('title="One"', 'title="Two:\\n"\n    "of it"', False),
        ("15 1", "30 2", False),
        ("history_days=40", "history_days=400", False),
        ('"UTC"', '"Europe/Rome"', True),
    ],
)
def test_a_spec_counts_by_what_decides_a_row(package: Path, old: str, new: str, counts: bool) -> None:
    (package / "features.py").write_text("from sample_case.spec import SPEC\n")
    (package / "spec.py").write_text(SPEC)
    before = fingerprint(PACKAGE, "features")
    (package / "spec.py").write_text(SPEC.replace(old, new))
    assert (fingerprint(PACKAGE, "features") != before) is counts


def test_a_field_of_the_spec_that_features_use_counts(package: Path) -> None:
    (package / "features.py").write_text("from sample_case.spec import SPEC\nWINDOW = SPEC.history_days\n")
    (package / "spec.py").write_text(SPEC)
    before = fingerprint(PACKAGE, "features")
    (package / "spec.py").write_text(SPEC.replace("40", "41"))
    assert fingerprint(PACKAGE, "features") != before


def test_parts_that_are_compared_in_another_way_can_be_left_out(package: Path) -> None:
    (package / "features.py").write_text("from sample_case.words import WORD\nT = __file__\n")
    before = fingerprint(PACKAGE, "features", without=("words",), files=False)
    (package / "words.py").write_text("WORD = 3\n")
    (package / "sales.csv").write_text("more\n")
    assert fingerprint(PACKAGE, "features", without=("words",), files=False) == before


def test_modules_that_import_each_other_are_no_trap(package: Path) -> None:
    (package / "features.py").write_text("from . import words\n")
    (package / "words.py").write_text("from . import features\n")
    assert edited(package, "words.py")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12), st.integers(0, 5))
def test_exactly_what_can_be_reached_counts(imports: list[tuple[int, int]], changed: int) -> None:
    """Of six modules that import each other at random, in the ways above, in turn."""
    ways = ("from .m{} import X", "from . import m{}", "import graph_case.m{}", "from graph_case.m{} import X as Y")
    reached = {0}
    for _ in range(6):
        reached |= {there for here, there in imports if here in reached}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "graph_case"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for number in range(6):
            lines = [ways[(here + there) % 4].format(there) for here, there in imports if here == number]
            (folder / f"m{number}.py").write_text("\n".join([*lines, "X = 1\n"]))
        patch.syspath_prepend(name)
        before = fingerprint("graph_case", "m0")
        (folder / f"m{changed}.py").write_text((folder / f"m{changed}.py").read_text() + "Y = 2\n")
        assert (fingerprint("graph_case", "m0") != before) is (changed in reached)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"include\.nothing"):
        fingerprint("include", "nothing")
