"""A use case is found by its dotted package, an installed package's entry point, or its folder anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.code import fingerprint
from include.errors import SettingsError
from include.packages import find_package, packages, python_path
from include.use_case import load_use_case
from tests.use_case_copy import ICE_CREAM, copied

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A use case in a folder that Python does not know of."""
    with copied(tmp_path, {}) as name:
        sys.path.remove(str(tmp_path))
        try:
            yield tmp_path / name
        finally:
            if str(tmp_path) not in sys.path:
                sys.path.append(str(tmp_path))


def test_a_list_is_separated_by_commas() -> None:
    assert packages(" a.b ,/c/d,, e") == ["a.b", "/c/d", "e"]


def test_a_folder_anywhere_is_a_use_case(folder: Path) -> None:
    assert load_use_case(str(folder)).spec.package == "copied"


def test_a_folder_given_from_here_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)

    assert load_use_case("./copied/").spec.package == "copied"


def test_a_folder_s_code_counts_as_the_use_case_s_own(folder: Path) -> None:
    package = find_package(str(folder))
    before = fingerprint(package, "features")

    (folder / "features.py").write_text((folder / "features.py").read_text() + "\nLATER = 1\n")

    assert fingerprint(package, "features") != before


def test_a_folder_of_the_project_keeps_its_dotted_name() -> None:
    assert find_package(str(ROOT / "tests" / "use_cases" / "ice_cream")) == ICE_CREAM


def test_a_folder_within_packages_is_found_by_its_whole_name(folder: Path) -> None:
    company = folder.parent / "company"
    company.mkdir()
    (company / "__init__.py").touch()
    folder.rename(company / "kiosks")

    assert find_package(str(company / "kiosks")) == "company.kiosks"


@pytest.mark.stack
def test_a_step_of_its_own_process_finds_a_folder(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = "import sys; from include.use_case import load_use_case as load; print(load(sys.argv[1]).spec.title)"

    argv = [sys.executable, "-c", code, str(folder)]
    told = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    assert told.stdout == "Will this kiosk sell out tomorrow?\n", told.stderr


def test_other_processes_find_folders_by_their_python_path(folder: Path) -> None:
    named = f"include.use_cases.flight_delay,{folder},{ROOT}/tests/use_cases/ice_cream"

    assert python_path(ROOT, named) == f"{ROOT}{os.pathsep}{folder.parent}"


def test_an_installed_package_names_its_use_case_by_an_entry_point(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "kiosks-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kiosks\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[nightshift.use_cases]\nkiosks = copied\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert load_use_case("kiosks").spec.package == "copied"


def test_a_name_that_means_nothing_is_refused_with_the_ways_to_name_one() -> None:
    with pytest.raises(
        SettingsError, match=r"'kiosk' cannot be loaded: No module named 'kiosk'; .*entry point.*folder"
    ):
        load_use_case("kiosk")


def test_a_folder_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no spec.py; name the folder that holds it"):
        load_use_case(str(tmp_path))


def test_a_folder_that_no_package_can_be_called_is_refused(folder: Path) -> None:
    odd = folder.rename(folder.parent / "ice-cream")

    with pytest.raises(SettingsError, match="'ice-cream' is no name for a package; rename it"):
        load_use_case(str(odd))


@pytest.mark.parametrize("taken", ["json", "include"])
def test_a_folder_with_another_package_s_name_is_refused(folder: Path, taken: str) -> None:
    other = folder.rename(folder.parent / taken)

    with pytest.raises(SettingsError, match=f"Python finds '{taken}' at .*; rename the folder"):
        load_use_case(str(other))
