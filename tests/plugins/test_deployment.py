"""What a DAG file knows of its deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.errors import SettingsError
from plugins.deployment import broken_use_cases, replay, timetables, use_cases
from tests.use_case_copy import ICE_CREAM, copied


def test_without_a_word_the_use_case_that_ships_is_run() -> None:
    assert "flight_delay" in [spec.name for spec in use_cases({})]  # beside a contributor's own
    assert use_cases({"NIGHTSHIFT_USE_CASES": ""}) == use_cases({})


def test_use_cases_are_named_by_package() -> None:
    packages = "tests.use_cases.ice_cream,include.use_cases.flight_delay,"
    assert [spec.name for spec in use_cases({"NIGHTSHIFT_USE_CASES": packages})] == ["ice_cream", "flight_delay"]


def test_one_that_cannot_be_loaded_is_named() -> None:
    environment = {"NIGHTSHIFT_USE_CASES": "no.such"}
    assert use_cases(environment) == []
    (error,) = broken_use_cases(environment)
    assert "'no.such'" in str(error)


def test_of_two_whose_workers_write_one_table_the_second_has_no_workers(tmp_path: Path) -> None:
    with copied(tmp_path, {"spec.py": ('name="ice_cream"', 'name="copied"')}) as package:
        environment = {"NIGHTSHIFT_USE_CASES": f"{ICE_CREAM},{package}"}
        assert [spec.name for spec in use_cases(environment)] == ["ice_cream", "copied"]
        assert [spec.name for spec, _ in timetables(environment)] == ["ice_cream"]
        (error,) = broken_use_cases(environment)
    assert str(error) == (
        "use case 'copied': timetable.yaml: table kiosk_sales is one of 'tests.use_cases.ice_cream' too; "
        "name another, here and in streams.py"
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"NIGHTSHIFT_REPLAY": "true"}, True),
        ({"AIRFLOW_VAR_NIGHTSHIFT_REPLAY": "True"}, True),
        ({"AIRFLOW_VAR_NIGHTSHIFT_REPLAY": "1"}, True),
        ({"AIRFLOW_VAR_NIGHTSHIFT_REPLAY": "false", "NIGHTSHIFT_REPLAY": "true"}, False),
        ({"AIRFLOW_VAR_NIGHTSHIFT_REPLAY": "", "NIGHTSHIFT_REPLAY": "on"}, True),
    ],
)
def test_replay_is_read_from_the_variable_that_steps_see_too(environment: dict[str, str], expected: bool) -> None:
    assert replay(environment) is expected


def test_a_replay_that_is_neither_true_nor_false_is_refused_as_the_steps_refuse_it() -> None:
    with pytest.raises(SettingsError, match=r"^NIGHTSHIFT_REPLAY=maybe: write true or false$"):
        replay({"NIGHTSHIFT_REPLAY": "maybe"})
