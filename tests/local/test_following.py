"""A command in another shell goes by what the running stack was started with."""

from __future__ import annotations

import signal
from collections.abc import Mapping

import pytest

from include.errors import SettingsError
from local.airflow import SCHEDULER
from local.following import BOUND, follow
from local.processes import Process
from local.services import STOP_ORDER
from local.settings_file import read_settings_file
from local.stack import REPOSITORY

FILE = read_settings_file(REPOSITORY / "airflow_settings.yaml")
OTHER = {
    "NIGHTSHIFT_SERVING_PORT": "9001",
    "NIGHTSHIFT_LAKE": "s3://bucket/lake",
    "NIGHTSHIFT_DATABASE_URL": "postgresql://me:hush@db/x",
    "NIGHTSHIFT_USE_CASES": "tests.use_cases.ice_cream",
}


def process(name: str, settings: Mapping[str, str] | None) -> Process:
    return Process(name, 1, 1, "2026-01-01T00:00:00+00:00", "log", signal.SIGTERM, "boot", "/", settings)


def test_every_part_of_the_stack_binds_its_own_port_and_what_all_share() -> None:
    assert set(BOUND) == set(STOP_ORDER)
    for name, bound in BOUND.items():
        assert {"lake", "use_cases", "database_url", "host"} <= bound, name
        assert sum(setting.endswith("_port") for setting in bound) == 1, name


def test_a_new_shell_has_the_settings_of_what_runs() -> None:
    followed = follow({"HOME": "/root", "NIGHTSHIFT_LAKE": ""}, [process("serving", OTHER)], FILE.effective)
    followed.require_same()
    assert followed.environment == {"HOME": "/root", **OTHER}
    assert followed.taken == OTHER


def test_where_nothing_runs_the_shell_is_taken_at_its_word() -> None:
    given = {"NIGHTSHIFT_LAKE": "/mine"}
    assert follow(given, [], FILE.effective).environment == given


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NIGHTSHIFT_SERVING_PORT", "8890"), ("NIGHTSHIFT_LAKE", "/mine"), ("NIGHTSHIFT_HOST", "::1")],
)
def test_a_shell_that_says_otherwise_is_told_both_values_and_what_to_do(variable: str, value: str) -> None:
    followed = follow({variable: value}, [process("serving", OTHER)], FILE.effective)
    running = OTHER.get(variable, "127.0.0.1")
    line = f"{variable}={value}, but the running stack was started with {running}"
    assert followed.differing == (line,)
    assert followed.environment == OTHER, "what looks at the stack looks at the one that runs"
    with pytest.raises(SettingsError, match=r"unset it to go on with that stack, or `make down` first"):
        followed.require_same()


def test_a_secret_that_differs_is_not_shown() -> None:
    line = follow({"NIGHTSHIFT_DATABASE_URL": "postgresql://me:new@db/x"}, [process("serving", OTHER)], FILE.effective)
    assert line.differing == ("NIGHTSHIFT_DATABASE_URL is not what the running stack was started with",)


@pytest.mark.parametrize(
    "same",
    [
        {"NIGHTSHIFT_SERVING_PORT": "09001"},
        {"NIGHTSHIFT_HOST": "127.0.0.1", "NIGHTSHIFT_ARTIFACTS": ".nightshift/mlflow"},
        {"NIGHTSHIFT_SERVING_URL": "http://127.0.0.1:9001"},
        {"NIGHTSHIFT_USE_CASES": "tests.use_cases.ice_cream , include.use_cases.flight_delay"},
    ],
)
def test_what_comes_to_the_same_does_not_differ(same: dict[str, str]) -> None:
    follow(same, [process("serving", OTHER)], FILE.effective).require_same()


def test_what_only_a_night_reads_may_differ_until_a_scheduler_runs() -> None:
    wanted = {"NIGHTSHIFT_REPLAY": "true", "NIGHTSHIFT_AIRFLOW_PORT": "9009"}
    alone = [process("serving", OTHER), process("postgres", OTHER)]
    assert follow(wanted, alone, FILE.effective).environment == OTHER | wanted
    assert len(follow(wanted, [*alone, process(SCHEDULER, OTHER)], FILE.effective).differing) == 2


def test_what_only_one_part_was_told_is_known_whatever_runs_beside_it() -> None:
    both = {"NIGHTSHIFT_USE_CASES": "tests.use_cases.ice_cream,include.use_cases.flight_delay"}
    parts = [process(SCHEDULER, OTHER | both), process("serving", OTHER), process("postgres", {})]
    for running in (parts[:2], parts[1::-1]):
        assert follow({}, running, FILE.effective).environment["NIGHTSHIFT_USE_CASES"].startswith("tests.use_cases.ice")
    assert follow({}, parts, FILE.effective).environment["NIGHTSHIFT_LAKE"] == OTHER["NIGHTSHIFT_LAKE"]


def test_a_process_of_an_older_version_says_nothing() -> None:
    given = {"NIGHTSHIFT_SERVING_PORT": "1"}
    assert follow(given, [process("serving", None)], FILE.effective).environment == given
