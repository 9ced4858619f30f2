"""One settings file: what the Astro CLI reads is what `make up` imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.errors import SettingsError
from include.settings import PLAIN, refuse_unknown_variables
from local.settings_file import SettingsFile, read_settings_file
from local.stack import REPOSITORY

OURS = REPOSITORY / "airflow_settings.yaml"


def file_of(folder: Path, text: str) -> SettingsFile:
    path = folder / "airflow_settings.yaml"
    path.write_text(text)
    return read_settings_file(path)


def test_a_connection_a_pool_and_a_variable_become_what_airflow_imports(tmp_path: Path) -> None:
    settings = file_of(
        tmp_path,
        """
airflow:
  connections:
    - {conn_id: lake, conn_type: aws, conn_login: key, conn_port: 9000, conn_extra: {region_name: eu}}
    - {conn_id: other, conn_uri: "http://host"}
  pools: [{pool_name: spark, pool_slot: 1, pool_description: jobs}]
  variables: [{variable_name: nightshift_lake, variable_value: "s3://bucket"}]
""",
    )
    imports = settings.imports()
    assert imports["connections"]["lake"]["login"] == "key"
    assert imports["connections"]["lake"]["port"] == 9000
    assert imports["connections"]["lake"]["extra"] == '{"region_name": "eu"}'
    assert imports["connections"]["other"] == "http://host"
    assert imports["pools"] == {"spark": {"slots": 1, "description": "jobs", "include_deferred": False}}
    assert imports["variables"] == {"nightshift_lake": "s3://bucket"}


def test_a_variable_that_is_not_text_is_refused_as_the_astro_cli_would(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"variables\.0\.variable_value"):
        file_of(tmp_path, "airflow: {variables: [{variable_name: a, variable_value: {b: c}}]}")


def test_a_pool_without_slots_is_refused_rather_than_skipped(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"pools\.0\.pool_slot"):
        file_of(tmp_path, "airflow: {pools: [{pool_name: spark, pool_slot: 0}]}")


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"connections\.0\.conn_hots"):
        file_of(tmp_path, "airflow: {connections: [{conn_id: a, conn_type: http, conn_hots: b}]}")


def test_a_connection_needs_a_type_or_an_address(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="connection a needs conn_type or conn_uri"):
        file_of(tmp_path, "airflow: {connections: [{conn_id: a}]}")


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_an_empty_file_or_one_without_a_mapping_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="is empty or no mapping"):
        file_of(tmp_path, text)


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        file_of(tmp_path, "airflow: [")
    assert "\n" not in str(caught.value)


def test_the_environment_wins_over_the_file() -> None:
    settings = read_settings_file(OURS)
    given = {"NIGHTSHIFT_LAKE": "s3://mine/lake", "NIGHTSHIFT_HOST": "0.0.0.0"}
    assert settings.overrides(given) == {"nightshift_lake": "s3://mine/lake"}
    assert settings.settings(given).lake == "s3://mine/lake"
    assert settings.settings({}).lake == ".nightshift/lake"


def test_the_environment_also_sets_what_the_file_leaves_out(tmp_path: Path) -> None:
    settings = file_of(
        tmp_path, "airflow: {variables: [{variable_name: nightshift_pod_runtime, variable_value: process}]}"
    )
    assert settings.settings({"NIGHTSHIFT_LAKE": "s3://mine/lake"}).lake == "s3://mine/lake"
    assert settings.overrides({"NIGHTSHIFT_NAMESPACE": "ml"}) == {"nightshift_namespace": "ml"}


def test_a_misspelt_runtime_is_refused_before_any_work() -> None:
    with pytest.raises(SettingsError, match="NIGHTSHIFT_POD_RUNTIME=proces: set kubernetes or process"):
        read_settings_file(OURS).settings({"NIGHTSHIFT_POD_RUNTIME": "proces"})


def test_a_secret_never_becomes_a_variable() -> None:
    secrets = {"NIGHTSHIFT_DATABASE_URL": "postgresql://me:pw@db/x", "NIGHTSHIFT_KAFKA_PASSWORD": "pw"}
    assert read_settings_file(OURS).overrides(secrets) == {}


def test_a_misspelt_environment_variable_is_refused_with_the_likely_one() -> None:
    with pytest.raises(SettingsError, match=r"NIGHTSHIFT_LAEK is not a setting; did you mean NIGHTSHIFT_LAKE\?"):
        refuse_unknown_variables({"NIGHTSHIFT_LAEK": "s3://b", "HOME": "/root"})
    refuse_unknown_variables({"NIGHTSHIFT_MLFLOW_PORT": "1", "NIGHTSHIFT_TRACKING_URL": "", "NIGHTSHIFT_USE_CASES": ""})


def test_a_misspelt_variable_of_the_file_is_refused_and_one_of_your_own_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="variable nightshift_brocker is not a setting; did you mean nightshift_b"):
        file_of(tmp_path, "airflow: {variables: [{variable_name: nightshift_brocker, variable_value: here}]}")
    mine = file_of(tmp_path, "airflow: {variables: [{variable_name: mine, variable_value: here}]}")
    assert mine.imports()["variables"] == {"mine": "here"}


def test_our_own_file_runs_steps_here_and_has_the_pools_that_steps_name() -> None:
    from include.step_specs import NIGHTLY, Pool

    settings = read_settings_file(OURS)
    assert settings.variables["nightshift_pod_runtime"] == "process"
    named = {step.pool.value for step in NIGHTLY} - {Pool.DEFAULT.value}
    assert named <= {pool.pool_name for pool in settings.pools}


def test_our_own_file_has_a_variable_for_every_open_setting_of_a_step() -> None:
    assert {f"nightshift_{name}" for name in PLAIN} <= read_settings_file(OURS).variables.keys()


def test_no_value_of_our_own_file_has_a_quote_that_the_astro_cli_cannot_pass_on() -> None:
    assert not [name for name, value in read_settings_file(OURS).variables.items() if "'" in value]
