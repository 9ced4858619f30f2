"""The parts of one stack, before any of them is started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from include.errors import SettingsError
from local.following import follow
from local.services import Services, locked, open_services
from local.settings_file import read_settings_file
from local.stack import REPOSITORY, load_stack
from plugins.deployment import replay


def services_in(folder: Path, environment: dict[str, str] | None = None) -> Services:
    shutil.copyfile(REPOSITORY / "airflow_settings.yaml", folder / "airflow_settings.yaml")
    stack = load_stack(environment or {}).model_copy(update={"root": folder})
    return open_services(stack, environment)


@pytest.mark.parametrize("part", ["POSTGRES", "SERVING", "AIRFLOW", "MLFLOW"])
def test_a_busy_port_of_any_part_is_refused_before_anything_starts(tmp_path: Path, part: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        names = ("POSTGRES", "SERVING", "AIRFLOW", "MLFLOW")
        ports = {f"NIGHTSHIFT_{name}_PORT": str(_free_port()) for name in names}
        services = services_in(tmp_path, ports | {f"NIGHTSHIFT_{part}_PORT": str(port)})
        with pytest.raises(SettingsError, match=f"NIGHTSHIFT_{part}_PORT={port + 1}"):
            services.require_ports(interfaces=True)
    assert services.processes.all() == []


def test_the_state_is_its_owners_alone_even_where_it_was_open_before(tmp_path: Path) -> None:
    (tmp_path / ".nightshift").mkdir(mode=0o755)
    services = services_in(tmp_path)
    assert services.stack.state.stat().st_mode & 0o777 == 0o700


def test_replay_in_the_settings_file_reaches_the_schedules_of_the_dag_files(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    assert not replay(services.airflow.environment())
    path = tmp_path / "airflow_settings.yaml"
    text = path.read_text()
    entry = text[text.index("variable_name: nightshift_replay #") :].split("    - ")[0]
    path.write_text(text.replace(entry, entry.replace('""', '"true"', 1)))
    assert replay(open_services(services.stack).airflow.environment())


@pytest.mark.parametrize(
    "given", [{"HOST": "192.0.2.1"}, {"SERVING_PORT": "9001"}, {"HOST": "::1", "SERVING_PORT": "1"}, {}]
)
def test_the_stack_serves_itself_wherever_it_listens(tmp_path: Path, given: dict[str, str]) -> None:
    environment = {f"NIGHTSHIFT_{name}": value for name, value in given.items()}
    assert services_in(tmp_path, environment).serves_here
    elsewhere = environment | {"NIGHTSHIFT_SERVING_URL": "http://serving.internal"}
    assert not services_in(tmp_path, elsewhere).serves_here


def test_the_settings_of_a_running_stack_are_not_lost_by_a_look_at_it_from_another_shell(tmp_path: Path) -> None:
    """Steps of the running Airflow read the database's address from a file that each command writes."""
    external = {
        "NIGHTSHIFT_DATABASE_URL": "postgresql://me@db.internal/x",
        "NIGHTSHIFT_SERVING_PORT": str(_free_port()),
    }
    services = services_in(tmp_path, external)
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    services.processes.start("serving", argv, environment=dict(os.environ), folder=tmp_path, log=tmp_path / "log")
    try:
        settings_file = read_settings_file(tmp_path / "airflow_settings.yaml")
        followed = follow({}, services.processes.all(), settings_file.effective).environment
        again = services_in(tmp_path, dict(followed))
        assert (again.stack.secrets / "database-url").read_text() == external["NIGHTSHIFT_DATABASE_URL"]
        assert again.stack.serving_port == services.stack.serving_port
    finally:
        services.processes.stop("serving")


@pytest.mark.stack
def test_the_next_command_waits_for_what_a_killed_one_had_begun(tmp_path: Path) -> None:
    """Two set-ups of one database at once would collide."""
    # Given a command that is killed while its child sets something up
    begins = f"""
import os, signal, subprocess, sys
from pathlib import Path
from local.services import locked
with locked(Path({str(tmp_path)!r})):
    work = "import time; from pathlib import Path; time.sleep(1); Path('done').touch()"
    subprocess.Popen([sys.executable, "-c", work], cwd={str(tmp_path)!r}, close_fds=False)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", begins], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    # When the next one begins, then that is over
    with locked(tmp_path):
        assert (tmp_path / "done").exists()


def test_an_mlflow_server_that_is_somebody_elses_is_named_and_not_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        given = {"TRACKING_URL": "https://me:hush@mlflow.internal", "MLFLOW_PORT": port}
        mlflow = services_in(tmp_path, {f"NIGHTSHIFT_{name}": value for name, value in given.items()}).mlflow
        mlflow.require_port()
    assert not mlflow.is_ours
    assert "mlflow.internal" in mlflow.url
    assert "hush" not in mlflow.url + mlflow.login


def test_the_password_of_a_kafka_user_reaches_the_steps_as_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_KAFKA_PASSWORD", "hush")
    services = services_in(tmp_path)
    assert (services.stack.secrets / "kafka-password").read_text() == "hush"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
