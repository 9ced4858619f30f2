"""The fast lane starts nothing: a test's marks follow from its fixtures, and a program that no mark allows fails it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tiers import APART, LATER, apart

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = "pytester"

OURS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.conftest import pytest_collection_modifyitems, pytest_configure
"""


@pytest.mark.stack
def test_a_test_may_start_only_what_its_mark_says(pytester: pytest.Pytester) -> None:
    # Given a test that starts a Python, without and with the mark that says so, and one that calls a small program
    pytester.makeconftest(OURS)
    pytester.makeini("[pytest]\nmarkers =\n stack: processes\n")
    pytester.makepyfile("""
        import subprocess, sys, pytest

        def test_unmarked():
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)

        def test_small():
            subprocess.run(["sh", "-c", ":"], check=True)

        @pytest.mark.stack
        def test_marked():
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    """)
    # When they run
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    # Then only the first fails, and is told the remedy
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.re_match_lines([r".*test_unmarked starts python.*: mark it `stack`.*"])


@pytest.mark.stack
def test_a_fixture_that_starts_a_server_marks_every_test_that_comes_to_it(pytester: pytest.Pytester) -> None:
    # Given a test that uses such a fixture by way of another one
    pytester.makeconftest(OURS)
    pytester.makeini("[pytest]\nmarkers =\n stack: processes\n")
    pytester.makepyfile("""
        from __future__ import annotations
        import pytest

        class ServingProcess: ...

        @pytest.fixture
        def server() -> ServingProcess:
            return ServingProcess()

        @pytest.fixture
        def ready(server): ...

        def test_by_way_of_another(ready): ...

        def test_without(): ...
    """)
    # When the fast lane is asked for
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-m", "not stack")
    # Then it is left out
    result.assert_outcomes(passed=1, deselected=1)


def test_make_test_fast_leaves_out_each_of_these_marks_and_nothing_else() -> None:
    [left_out] = re.findall(r'-m "not \((.*)\)"', (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert set(left_out.split(" or ")) == LATER


@pytest.mark.parametrize("named", ["tests", ".", "tests/serving", "tests/test_tiers.py::test_one"])
def test_the_tests_with_replicas_run_only_when_they_are_named(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert apart(APART / "test_releasing.py", [named])
    assert not apart(APART / "test_releasing.py", [named, "tests/replicas/test_releasing.py::test_one"])
    assert not apart(ROOT / "tests" / "serving", [named])
