"""Every step ends in one JSON result or one line of error, the right code, and a report in the lake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from include import stop
from include.command_line import parse
from include.errors import ExitCode, SettingsError
from include.report import report_name
from include.settings import KNOWN, Settings, load_settings
from include.step import Context, Result, main, open_context
from include.storage.lake import Dataset, Layer
from include.termination import one_line
from plugins.pod_spec import GRACE
from tests.echo_step import INJECTED, Arguments, echo
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
GOOD = ["--use-case", "include.use_cases.flight_delay", "--date", "2013-10-01"]


RETRY = "; correct the code, a retry would run the same"


def line_of(text: str) -> str:
    """Where the step's source says something, as `file:line`."""
    lines = (ROOT / "tests" / "echo_step.py").read_text(encoding="utf-8").splitlines()
    return f"tests/echo_step.py:{next(number for number, line in enumerate(lines, 1) if text in line)}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment with nothing in it; the step runs in this process, so its signal handler is not set."""
    for name in [name for name in os.environ if name.startswith("NIGHTSHIFT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NIGHTSHIFT_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("NIGHTSHIFT_TERMINATION_LOG", str(tmp_path / "message"))
    monkeypatch.setenv("NIGHTSHIFT_RUN", "a dag/scheduled__2013-10-02T05:15/echo")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return tmp_path


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(Arguments, echo, list(argv))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def message(place: Path) -> str:
    return (place / "message").read_text()


def report(place: Path) -> dict[str, Any]:
    name = "runs/a_dag/scheduled__2013-10-02T05_15/echo.json"
    body: dict[str, Any] = json.loads((place / "lake" / "flight_delay" / name).read_bytes())
    return body


def test_a_step_that_is_done_says_so_in_its_message_and_report(place: Path) -> None:
    assert run(*GOOD, "--times", "3", "--force") == ExitCode.DONE
    result = {"rows": {"echo": 3}, "facts": {"lake": "flight_delay", "force": True}}
    assert json.loads(message(place)) == result
    told = report(place)
    assert told["state"] == "done"
    assert told["result"] == result
    assert told["seconds"] >= told["function_seconds"] >= 0
    assert told["peak_rss_mib"] > 10


@pytest.mark.parametrize(
    ("act", "code", "line"),
    [
        ("bad_data", ExitCode.BAD_DATA, "rule range, column x: 3 rows are bad"),
        ("skipped", ExitCode.SKIPPED, "not among the candidates"),
        ("crash", ExitCode.BAD_CODE, line_of('KeyError("nobody') + ": KeyError: 'nobody thought of this'" + RETRY),
        (
            "unspeakable",
            ExitCode.BAD_CODE,
            line_of("raise Unspeak") + ": UnspeakableError: (its text cannot be had: AssertionError)" + RETRY,
        ),
        ("exit", ExitCode.BAD_CODE, line_of("sys.exit(3)") + ": SystemExit: 3" + RETRY),
        ("stumble", ExitCode.FAULT, "TypeError: a library stumbled over it"),
        ("surrogate", ExitCode.BAD_DATA, r"a file is named \udcff"),
        ("long", ExitCode.FAULT, "a result of 5021 bytes, 4096 at most; put its bulk into the lake"),
    ],
)
def test_a_step_that_fails_says_why_in_one_line(place: Path, act: str, code: ExitCode, line: str) -> None:
    assert run(*GOOD, "--act", act) == code
    assert message(place) == line
    assert report(place)["state"] == "failed"
    assert report(place)["error"] == line


def test_a_message_never_exceeds_what_kubernetes_keeps(place: Path) -> None:
    assert run(*GOOD, "--act", "long_error") == ExitCode.BAD_DATA
    assert len((place / "message").read_bytes()) <= 4096
    assert set(message(place)) == {"é"}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--use-case", "include.use_cases.flight_delay"], "--date: Field required"),
        ([*GOOD[:2], "--date", "tomorrow"], "--date 'tomorrow': write it as YYYY-MM-DD"),
        ([*GOOD[:2], "--date", "20131001"], "--date '20131001': write it as YYYY-MM-DD"),
        ([*GOOD[:2], "--date", "2013-02-30"], "--date '2013-02-30': Input should be a valid date"),
        ([*GOOD, "--speed", "9"], "unknown argument --speed; known: use_case, date, force, act, times"),
        ([*GOOD, "--times", "many"], "--times 'many': Input should be a valid integer"),
        ([*GOOD, "extra"], "unknown argument extra"),
        (["--use-case", "no.such.case", *GOOD[2:]], "use case 'no.such.case' cannot be loaded"),
        (["--use-case", "include.steps", *GOOD[2:]], "lists packages with a spec.py, entry points or folders"),
    ],
)
def test_a_wrong_argument_is_named_before_any_work(place: Path, argv: list[str], line: str) -> None:
    assert run(*argv) == ExitCode.BAD_SETTINGS
    assert line in message(place)
    assert "\n" not in message(place)
    assert not (place / "lake").exists()


def test_an_unknown_setting_is_refused_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_LAEK", "s3://typo")
    assert run(*GOOD) == ExitCode.BAD_SETTINGS
    assert message(place) == "NIGHTSHIFT_LAEK is not a setting; did you mean NIGHTSHIFT_LAKE?"


def test_what_the_stack_and_the_operator_are_told_may_stand_in_a_steps_environment() -> None:
    """A person's shell holds both: what `make up` reads, and what a step does."""
    others = KNOWN - set(Settings.model_fields)
    assert {"host", "use_cases", "serving_port", "pod_runtime"} <= others
    assert load_settings({f"NIGHTSHIFT_{name.upper()}": "anything" for name in others}) == Settings()


def test_an_empty_setting_counts_as_unset() -> None:
    assert load_settings({"NIGHTSHIFT_S3_ENDPOINT": ""}).s3_endpoint is None


def test_a_setting_that_a_step_needs_is_asked_for_by_its_variable() -> None:
    with pytest.raises(SettingsError, match="NIGHTSHIFT_DATABASE_URL is not set: give it, or start the embedded stack"):
        load_settings({}).require("database_url")


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = load_settings({"NIGHTSHIFT_SERVING_TOKEN": "hush"})
    assert "hush" not in repr(settings)
    assert settings.require("serving_token") == "hush"


def test_arguments_are_frozen_and_read_like_a_command_line() -> None:
    arguments = parse(Arguments, [*GOOD, "--force"])
    assert arguments == Arguments(use_case=GOOD[1], date=date(2013, 10, 1), force=True)
    assert parse(Arguments, [*GOOD, "--force", "false"]).force is False
    with pytest.raises(ValueError, match="frozen"):
        arguments.force = False  # type: ignore[misc]


def test_a_step_deletes_what_forced_runs_replaced_longer_ago_than_the_grace(place: Path) -> None:
    day, lookups = date(2013, 10, 1), Dataset(Layer.LOOKUPS, "nightly")
    folder = place / "lake" / "flight_delay" / str(lookups.on(day))

    def publish(context: Context, arguments: Arguments) -> Result:
        content = str(arguments.times).encode()
        context.lake.publish(lookups.on(arguments.date), {"lookup.json": content}, force=True)
        return Result()

    def ended(day: date, times: int) -> list[str]:
        with pytest.raises(SystemExit):
            main(Arguments, publish, [*GOOD[:-1], day.isoformat(), "--times", str(times)])
        return sorted(path.read_text() for path in folder.glob("lookup-*.json"))

    assert [ended(day, 1), ended(day, 2)] == [["1"], ["1", "2"]]
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    # When the step runs for another day
    assert ended(day + timedelta(days=1), 3) == ["2"]


def test_a_step_function_can_be_called_by_hand(place: Path) -> None:
    result = echo(open_context(GOOD[1]), parse(Arguments, GOOD))
    assert result == Result(rows={"echo": 1}, facts={"lake": "flight_delay", "force": False})
    assert not (place / "message").exists()


def test_a_report_that_cannot_be_written_does_not_fail_the_work(place: Path) -> None:
    (place / "lake").write_text("no folder")
    # The first report already says that the lake is out of reach
    assert run(*GOOD) == ExitCode.FAULT
    assert message(place).startswith("lake: cannot write")


@pytest.mark.parametrize(("text", "line"), [("a\n b\t c ", "a b c"), ("", "")])
def test_any_text_becomes_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_a_report_lies_under_a_name_that_every_store_takes() -> None:
    assert report_name("dag/manual__2013-10-01T00:00:00+00:00/train-a b") == (
        "runs/dag/manual__2013-10-01T00_00_00_00_00/train-a_b.json"
    )


def started(place: Path, act: str, stderr: int | None = None) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "tests.echo_step", *GOOD, "--act", act]
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)


@pytest.mark.stack
@pytest.mark.parametrize("act", ["wait", "misunderstand"])
def test_sigterm_ends_a_step_with_its_line_report_and_the_code_for_a_fault(place: Path, act: str) -> None:
    # Given a step in the middle of its work, or of a library's that answers an interruption with another error
    child = started(place, act)
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    assert report(place)["state"] == "running"
    assert report(place)["step"] == "tests.echo_step"
    # When it is told to stop, as a pod is
    child.send_signal(signal.SIGTERM)
    # Then it ends at once and says so
    assert child.wait(timeout=PATIENCE) == ExitCode.FAULT
    assert message(place) == "stopped by signal 15; nothing half-made was published"
    assert report(place)["state"] == "failed"
    child.stdout.close()


@pytest.mark.stack
@pytest.mark.parametrize(("act", "code"), [("leak", ExitCode.FAULT), ("boast", ExitCode.DONE)])
def test_no_password_is_in_the_log_the_traceback_the_message_or_the_report(
    place: Path, monkeypatch: pytest.MonkeyPatch, act: str, code: ExitCode
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_TRACKING_URL", "http://someone:sec?ret#pw@127.0.0.1:22060/x")
    child = started(place, act, stderr=subprocess.STDOUT)
    out, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == code
    told = [out, message(place), json.dumps(report(place))]
    assert "http://someone:***@127.0.0.1:22060/x" in message(place)
    assert not [text for text in told if "sec?ret" in text or "ret#pw" in text]
    if act == "leak":
        assert out.count("http://someone:***@127.0.0.1:22060/x") >= 5, "said by print, a logger, a warning, a traceback"


@pytest.mark.stack
def test_a_stop_that_a_library_swallows_ends_the_step_by_force(place: Path) -> None:
    # Given a step whose library catches whatever is raised, and tries again
    child = started(place, "swallow")
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    # When it is told to stop
    child.send_signal(signal.SIGTERM)
    # Then it ends after a time that is shorter than a pod's grace, and says why
    assert child.wait(timeout=PATIENCE) == ExitCode.FAULT
    assert message(place).startswith(f"stopped by signal 15, and by force as it went on for {stop.SECONDS:g} s")
    assert stop.SECONDS < GRACE
    assert message(place) in child.stdout.read()
    child.stdout.close()


@pytest.mark.stack
def test_a_killed_step_leaves_a_report_that_it_was_running(place: Path) -> None:
    child = started(place, "suicide")
    child.communicate(timeout=PATIENCE)
    assert child.returncode == -signal.SIGKILL
    assert report(place)["state"] == "running"


@pytest.mark.stack
def test_no_cell_begins_a_line_of_its_own_or_speaks_to_a_terminal(tmp_path: Path) -> None:
    # Given a step that logs a cell, prints its first line, and ends in an error that quotes it
    message = tmp_path / "message"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")}
    settings = {"NIGHTSHIFT_LAKE": str(tmp_path / "lake"), "NIGHTSHIFT_TERMINATION_LOG": str(message)}
    command = [sys.executable, "-m", "tests.echo_step", *GOOD, "--act", "inject"]
    done = subprocess.run(command, cwd=ROOT, env=kept | settings, capture_output=True, timeout=PATIENCE, check=False)
    # Then nothing that it wrote controls a terminal, and the cell is on our lines as an excerpt of one line
    shown = (done.stdout + done.stderr).decode()
    assert not {letter for letter in shown + message.read_text() if not letter.isprintable()} - {"\n", "\t"}
    warned = next(line for line in shown.splitlines() if line.startswith("a cell says"))
    assert warned == r"a cell says x\x1b[2J\x9b31m\u202e\nvalidate: 0 findings"
    assert "\n" not in message.read_text()
    assert INJECTED.partition("\n")[2] not in shown.splitlines(), "the traceback quotes it behind a bar"
