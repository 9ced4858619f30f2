"""A use case's own packages are locked beside the platform's and installed, and a conflict is named."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from include import identity
from include.errors import ExitCode, FaultError, SettingsError
from include.use_case import load_use_case
from local import requirements
from local.install import LOCK, find_uv
from tests.use_case_copy import copied

pytestmark = pytest.mark.stack


def wheel(folder: Path, version: str) -> None:
    """Put a package `kiosk_prices` into a folder, as an index would offer it."""
    info = f"kiosk_prices-{version}.dist-info"
    with zipfile.ZipFile(folder / f"kiosk_prices-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("kiosk_prices.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: kiosk-prices\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def yours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a use case that needs a package, an index of packages, and a `.venv` to install into."""
    index = tmp_path / "index"
    index.mkdir()
    wheel(index, "1.0")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setattr(requirements, "VENV", tmp_path / "venv")
    monkeypatch.setattr(requirements, "STAMP", tmp_path / "venv" / "installed")
    subprocess.run([find_uv(), "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    (tmp_path / "venv" / "installed").touch()
    with copied(tmp_path, {"requirements.txt": "kiosk-prices>=1\n"}) as name:
        yield tmp_path / name


def installed(venv: Path) -> str:
    """The version of the package in a `.venv`, empty if there is none."""
    argv = [str(venv / "bin" / "python"), "-c", "import kiosk_prices as k; print(k.VERSION)"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def test_a_locked_package_is_installed_once(yours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert requirements.lock(str(yours)) == [yours / "requirements.lock"]

    requirements.install(str(yours))
    requirements.install(str(yours))

    assert installed(yours.parent / "venv") == "1.0"
    assert capsys.readouterr().out.count("installing") == 1


def test_a_new_platform_is_installed_into_again(yours: Path) -> None:
    venv = yours.parent / "venv"
    requirements.lock(str(yours))
    requirements.install(str(yours))
    subprocess.run([find_uv(), "pip", "uninstall", "-q", "-p", venv, "kiosk-prices"], check=True)
    (venv / "installed").touch()

    requirements.install(str(yours))

    assert installed(yours.parent / "venv") == "1.0"


def test_another_file_than_the_locked_one_is_not_installed(yours: Path) -> None:
    (locked,) = requirements.lock(str(yours))
    locked.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", locked.read_text()))

    with pytest.raises(FaultError, match=r"requirements.lock was not installed: .*[Hh]ash"):
        requirements.install(str(yours))


def test_a_version_that_the_platform_has_otherwise_is_named(yours: Path) -> None:
    (yours / "requirements.txt").write_text("pandas<2\n")

    with pytest.raises(SettingsError, match=r"requirements.txt cannot be locked: .*pandas<2 and pandas==2"):
        requirements.lock(str(yours))


def test_a_package_without_a_lock_stops_the_start(yours: Path) -> None:
    with pytest.raises(SettingsError, match=r"requirements.txt has no lock; run `make lock USE_CASE=.*copied`"):
        requirements.install(str(yours))


def test_an_edit_after_the_lock_stops_the_start(yours: Path) -> None:
    requirements.lock(str(yours))
    (yours / "requirements.txt").write_text("kiosk-prices>=1,<2\n")

    with pytest.raises(SettingsError, match=r"requirements.txt or the platform's lock has changed since"):
        requirements.install(str(yours))


def test_another_platform_stops_the_start(yours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements.lock(str(yours))
    other = tmp_path / "requirements.lock"
    other.write_text(LOCK.read_text() + "# a later one\n")
    monkeypatch.setattr(requirements, "LOCK", other)

    with pytest.raises(SettingsError, match=r"requirements.txt or the platform's lock has changed since"):
        requirements.install(str(yours))


def test_a_broken_use_case_is_for_others_to_report(yours: Path, tmp_path: Path) -> None:
    (yours / "spec.py").write_text("SPEC = no_such_name\n")
    requirements.lock(str(yours))

    requirements.install(f"{tmp_path / 'nowhere'},no.such.package,{yours}")

    assert installed(yours.parent / "venv") == "1.0"


def test_a_use_case_without_requirements_needs_nothing() -> None:
    requirements.install("tests.use_cases.ice_cream")


def test_those_of_the_checkout_are_installed_with_it_as_they_were_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[Path] = []
    monkeypatch.setattr(requirements, "install_lock", installed.append)

    requirements.main()

    assert installed == [LOCK.parent / "include" / "use_cases" / "flight_delay" / "requirements.lock"]


def test_an_old_lock_of_the_checkout_is_one_line_with_the_remedy(
    yours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements, "default_use_cases", lambda: str(yours))

    with pytest.raises(SystemExit) as ended:
        requirements.main()

    assert ended.value.code == ExitCode.BAD_SETTINGS
    assert re.fullmatch(r"nightshift: .*; run `make lock USE_CASE=.*`\n", capsys.readouterr().err)


def test_only_those_that_have_requirements_are_locked_with_the_platform(yours: Path) -> None:
    assert requirements.with_own(f"tests.use_cases.ice_cream,{yours},no.such.package") == str(yours)


def test_features_and_models_follow_the_versions_of_its_own_packages(
    yours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_use_case(str(yours)).spec
    monkeypatch.setattr(identity, "_version", lambda name: "1.0" if name == "kiosk-prices" else "9")
    before = identity.features(spec), identity.requirements(spec)

    monkeypatch.setattr(identity, "_version", lambda name: "2.0" if name == "kiosk-prices" else "9")

    assert before[1] == ["kiosk-prices 1.0"]
    assert identity.features(spec) != before[0]
