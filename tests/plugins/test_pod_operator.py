"""A step's contract, kept by both runtimes: what it is given, what comes back, and what its failure means."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from include.settings import SECRETS, Settings
from include.step_specs import StepSpec
from plugins.pod_operator import StepPod
from tests.plugins.conftest import Mode

PROBE = StepSpec("extract", "tests.plugins.probe", "A step for tests.", timedelta(seconds=30))


TOLD = {
    **dict.fromkeys(Settings.variables(), ""),
    **dict.fromkeys(SECRETS),  # optional keys that the secret does not have
    "NIGHTSHIFT_LAKE": "s3://lake/prefix",
    "NIGHTSHIFT_REPLAY": "true",
    "NIGHTSHIFT_SPARK_MASTER": "local[*]",
    "NIGHTSHIFT_RUN": "ice_cream_nightly_training/scheduled__2013-10-01T05:15:00+00:00/extract",
    "NIGHTSHIFT_SERVING_TOKEN": "token-of-the-tests",
}


def probe(step: StepSpec = PROBE, *, kwargs: dict[str, Any] | None = None, **options: str) -> StepPod:
    """A task that runs the probe with these options."""
    return StepPod(
        task_id="extract", step=step, use_case="tests.ice_cream", date="2013-10-01", options=options, **(kwargs or {})
    )


@pytest.mark.stack
def test_the_result_comes_back_as_the_tasks_value(mode: Mode) -> None:
    result = mode.run(probe(message='{"rows":{"raw/flights":3}}'))
    assert result == {"rows": {"raw/flights": 3}}
    assert mode.context["ti"].pushed["return_value"] == result


@pytest.mark.stack
def test_both_modes_give_the_same_arguments_and_environment(mode: Mode) -> None:
    mode.context["var"]["value"].values |= {
        "nightshift_lake": "s3://lake/prefix",
        "nightshift_replay": "true",
        "nightshift_spark_master": "local[*]",
    }
    told = mode.run(probe(tell=",".join(TOLD), blank="{{ '' }}", lines="{{ 1 + 1 }}"))["facts"]
    assert told["argv"] == ["--use-case=tests.ice_cream", "--date=2013-10-01", f"--tell={','.join(TOLD)}", "--lines=2"]
    assert told["environment"] == TOLD


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"dates": "2013-10-01"}, "unknown run parameter 'dates'; did you mean 'date'? this DAG takes date, force;"),
        ({"date": "2013-10-01", "Force": True}, "unknown run parameter 'Force'; did you mean 'force'?"),
        ({"x": 1, "y": 2}, "unknown run parameter 'x', 'y'; this DAG takes date, force;"),
    ],
)
def test_a_run_with_a_parameter_that_its_dag_does_not_have_is_refused(
    mode: Mode, conf: dict[str, Any], says: str
) -> None:
    mode.context["dag_run"].conf = conf
    with pytest.raises(AirflowFailException, match=re.escape(says)):
        mode.run(probe())
    assert mode.cluster.pods == {}, "nothing was started"


@pytest.mark.stack
@pytest.mark.parametrize("conf", [None, {}, {"date": "2013-10-01"}])
def test_a_run_with_known_parameters_or_none_runs(mode: Mode, conf: dict[str, Any] | None) -> None:
    mode.context["dag_run"].conf = conf
    assert mode.run(probe(message='{"rows":{"raw/flights":3}}')) == {"rows": {"raw/flights": 3}}


@pytest.mark.stack
@pytest.mark.parametrize(
    ("exit_code", "meaning"),
    [
        (65, AirflowFailException),
        (78, AirflowFailException),
        (75, AirflowException),
        (1, AirflowException),
        (99, AirflowSkipException),
    ],
)
def test_an_exit_code_means_the_same_in_both_modes(mode: Mode, exit_code: int, meaning: type[Exception]) -> None:
    with pytest.raises(meaning, match=r"^raw/flights: no such day; give another$") as caught:
        mode.run(probe(exit=str(exit_code), message="raw/flights: no such day; give another"))
    assert type(caught.value) is meaning


@pytest.mark.stack
def test_a_step_that_dies_without_a_word_is_retried_and_its_exit_code_named(mode: Mode) -> None:
    with pytest.raises(AirflowException, match="exit code 3 without a word") as caught:
        mode.run(probe(exit="3", message=" "))
    assert type(caught.value) is AirflowException


@pytest.mark.stack
def test_a_result_that_is_no_json_is_a_failure(mode: Mode) -> None:
    with pytest.raises(AirflowException, match="not a JSON object: 'three rows'"):
        mode.run(probe(message="three rows"))


@pytest.mark.stack
def test_output_is_in_the_tasks_log_line_by_line(mode: Mode, capsys: pytest.CaptureFixture[str]) -> None:
    mode.run(probe(lines="3"))
    assert re.findall(r"\] (line \d+)", capsys.readouterr().out) == ["line 0", "line 1", "line 2"]


@pytest.mark.stack
def test_outlets_say_what_was_made_of_which_day(mode: Mode) -> None:
    asset = Asset(name="ice_cream/raw/sales", uri="x-nightshift://ice_cream/raw/sales")
    event = type("Event", (), {"extra": None})()
    mode.context["outlet_events"] = {asset: event}
    mode.run(probe(message='{"rows":{"raw/sales":3},"metrics":{"auc":0.7}}', kwargs={"outlets": [asset]}))
    made = {"rows": {"raw/sales": 3}, "metrics": {"auc": 0.7}, "uris": {}, "facts": {}}
    assert event.extra == {"date": "2013-10-01", **made}


def test_an_unknown_runtime_is_refused_by_name(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTSHIFT_POD_RUNTIME", "docker")
    with pytest.raises(AirflowFailException, match="nightshift_pod_runtime is 'docker'; set kubernetes or process"):
        mode.run(probe())
