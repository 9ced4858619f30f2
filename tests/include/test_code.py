"""A hash of code: what it covers, and what it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from include.code import fingerprint


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sample_case"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "features.py").write_text("from sample_case.words import WORD\n")
    (folder / "words.py").write_text("WORD = 1\n")
    (folder / "gates.py").write_text("GATE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sample_case", raising=False)
    return folder


@pytest.mark.parametrize(("module", "counts"), [("features", True), ("words", True), ("gates", False)])
def test_a_hash_covers_a_module_and_what_it_imports_of_its_package(package: Path, module: str, counts: bool) -> None:
    before = fingerprint("sample_case", "features")
    path = package / f"{module}.py"
    path.write_text(path.read_text() + "MORE = 2\n")
    assert (fingerprint("sample_case", "features") != before) is counts


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"include\.nothing"):
        fingerprint("include", "nothing")
