"""Process mode does what a kubelet does, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models as k8s

from plugins.pod_ending import Ending
from plugins.pod_process import INHERITED, ROOT, PodProcess, expand, machine_environment
from tests.waiting import PATIENCE, until

TERMINATION_LOG = "$NIGHTSHIFT_TERMINATION_LOG"


def pod(
    *command: str, env: list[k8s.V1EnvVar] | None = None, deadline: int | None = None, **container: Any
) -> k8s.V1Pod:
    """A pod of one container."""
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="probe-1", namespace="nightshift", labels={"task_id": "probe"}),
        spec=k8s.V1PodSpec(
            containers=[k8s.V1Container(name="base", image="probe:1", command=list(command), env=env, **container)],
            active_deadline_seconds=deadline,
            termination_grace_period_seconds=1,
        ),
    )


def shell(script: str, **more: Any) -> k8s.V1Pod:
    """A pod that runs a shell script."""
    return pod("sh", "-c", script, **more)


def run(of: k8s.V1Pod, secrets: Path | None = None) -> tuple[Ending, list[str]]:
    """Run a pod to its end; the lines it printed, the first one (what is started) left out."""
    lines: list[str] = []
    ending = PodProcess(of, lines.append, secrets).run()
    return ending, lines[1:]


def alive(pid: int) -> bool:
    """Whether a process runs (one that waits to be reaped does not)."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def signal_once(pids: Callable[[], list[int]], signum: signal.Signals) -> None:
    """Signal this process once a step's processes are there."""
    until(pids)
    os.kill(os.getpid(), signum)


# What it is given


def test_a_step_finds_the_proxy_of_the_machine_and_what_is_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"https_proxy": "http://proxy.corp:3128", "NO_PROXY": "127.0.0.1", "REQUESTS_CA_BUNDLE": "/etc/corp.pem"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert given.items() <= machine_environment().items()


@pytest.mark.stack
def test_nothing_of_the_workers_environment_but_the_machines_paths_is_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://user:password@host/airflow")
    _, lines = run(pod("env", env=[k8s.V1EnvVar("NIGHTSHIFT_LAKE", value="/lake")]))
    names = {line.partition("=")[0] for line in lines}
    assert names <= {
        *INHERITED, "NIGHTSHIFT_LAKE", "NIGHTSHIFT_TERMINATION_LOG", "PYTHONPATH", "PYTHONUNBUFFERED", "TMPDIR",
        "LC_CTYPE",
    }  # fmt: skip
    assert {"NIGHTSHIFT_LAKE=/lake", f"PYTHONPATH={ROOT}"} <= set(lines)


@pytest.mark.stack
def test_it_runs_in_the_projects_root_unless_told_otherwise(tmp_path: Path) -> None:
    assert run(pod("pwd"))[1] == [str(ROOT)]
    assert run(pod("pwd", working_dir=str(tmp_path)))[1] == [str(tmp_path)]


@pytest.mark.stack
def test_values_may_refer_to_earlier_ones_fields_and_resources() -> None:
    field = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.labels['task_id']"))
    limit = k8s.V1EnvVarSource(resource_field_ref=k8s.V1ResourceFieldSelector(resource="limits.memory", divisor="1Mi"))
    env = [
        k8s.V1EnvVar("TASK", value_from=field),
        k8s.V1EnvVar("MEMORY", value_from=limit),
        k8s.V1EnvVar("BOTH", value="$(TASK)/$(MEMORY)/$(LATER)/$$(TASK)"),
        k8s.V1EnvVar("LATER", value="x"),
    ]
    resources = k8s.V1ResourceRequirements(limits={"memory": "2Gi"})
    _, lines = run(pod("echo", env=env, args=["$(BOTH)", "$(UNKNOWN)"], resources=resources))
    assert lines == ["probe/2048/$(LATER)/$(TASK) $(UNKNOWN)"]


@given(st.text(alphabet="$()AB", max_size=12))
def test_what_a_reference_expands_to_follows_the_rules_of_the_kubernetes_documentation(text: str) -> None:
    # An independent reading, character by character, of the rule that Kubernetes states for `$(NAME)` and `$$`.
    out, position = "", 0
    while position < len(text):
        rest = text[position:]
        closing = rest.find(")")
        if rest.startswith("$$"):
            out, position = out + "$", position + 2
        elif rest.startswith("$(") and closing > 2:
            out, position = out + {"A": "1"}.get(rest[2:closing], rest[: closing + 1]), position + closing + 1
        else:
            out, position = out + rest[0], position + 1
    assert expand(text, {"A": "1"}) == out


def secret(optional: bool) -> k8s.V1EnvVar:
    """An environment variable that comes from a secret."""
    selector = k8s.V1SecretKeySelector(name="nightshift", key="serving-token", optional=optional)
    return k8s.V1EnvVar("TOKEN", value_from=k8s.V1EnvVarSource(secret_key_ref=selector))


@pytest.mark.stack
def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "nightshift").mkdir()
    (tmp_path / "nightshift" / "serving-token").write_text("hush\n")
    _, lines = run(shell('test "$TOKEN" = hush && echo "it is $TOKEN"', env=[secret(False)]), tmp_path)
    assert lines == ["it is ***"], "it is not the secret, or it is in a line for all to read"


@pytest.mark.stack
def test_a_missing_optional_secret_is_no_variable(tmp_path: Path) -> None:
    assert run(shell("echo [${TOKEN-none}]", env=[secret(True)]), tmp_path)[1] == ["[none]"]


def test_a_missing_secret_is_named_with_the_file_to_write(tmp_path: Path) -> None:
    path = re.escape(str(tmp_path / "nightshift" / "serving-token"))
    with pytest.raises(AirflowFailException, match=f"secret 'nightshift' has no key 'serving-token': .*{path}"):
        run(pod("env", env=[secret(False)]), tmp_path)


def test_what_only_a_cluster_can_do_is_refused_by_name() -> None:
    with pytest.raises(AirflowFailException, match="image probe:1 without a command"):
        run(pod())
    with pytest.raises(AirflowFailException, match="'spark-submit-of-the-image' is not a program of this machine"):
        run(pod("spark-submit-of-the-image"))
    several = pod("env")
    several.spec.containers *= 2
    with pytest.raises(AirflowFailException, match="a pod of several containers"):
        run(several)
    with pytest.raises(AirflowFailException, match="env_from"):
        run(pod("env", env_from=[k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name="x"))]))
    mounted = pod("env")
    mounted.spec.volumes = [k8s.V1Volume(name="x", host_path=k8s.V1HostPathVolumeSource(path="/"))]
    with pytest.raises(AirflowFailException, match="a volume that is not an emptyDir"):
        run(mounted)


# What comes back


@pytest.mark.stack
def test_exit_code_and_termination_message_come_back() -> None:
    assert run(shell(f'printf "no such day" > "{TERMINATION_LOG}"; exit 65'))[0] == Ending(65, "no such day")


@pytest.mark.stack
def test_a_signal_is_an_exit_code_as_a_container_runtime_reports_it() -> None:
    ending, _ = run(shell("kill -SEGV $$$$"))
    assert ending.exit_code == 128 + signal.SIGSEGV


@pytest.mark.stack
def test_only_the_last_4_kib_of_a_message_are_kept() -> None:
    ending, _ = run(
        shell(f'head -c 5000 /dev/zero | tr "\\0" x > "{TERMINATION_LOG}"; printf end >> "{TERMINATION_LOG}"')
    )
    assert ending.message == "x" * 4093 + "end"


@pytest.mark.stack
def test_a_lot_of_output_streams_while_the_step_runs(tmp_path: Path) -> None:
    # Given a step that goes on only once its lines were read
    read, lines = tmp_path / "read", []
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; "
    script += f"until [ -e '{read}' ]; do sleep 0.05; done; printf 'no newline \\377'"

    def follow(line: str) -> None:
        lines.append(line)
        if line == "line 19999":
            read.touch()

    # Then it ends in time, and no line is lost
    assert PodProcess(shell(script, deadline=60), follow).run().succeeded
    assert lines[1:] == [*(f"line {number}" for number in range(20000)), "no newline \\xff"]


@pytest.mark.stack
def test_scratch_space_is_private_and_gone_afterwards() -> None:
    ending, lines = run(shell('echo "$TMPDIR"; touch "$TMPDIR/x"; ls "$TMPDIR"'))
    assert ending.succeeded
    assert lines[1] == "x"
    assert not Path(lines[0]).exists()


# How it is ended


@pytest.mark.stack
def test_the_deadline_ends_a_step_and_what_it_started() -> None:
    ending, lines = run(shell("sleep 600 & echo $!; trap '' TERM; while :; do sleep 0.1; done", deadline=1))
    assert ending.exit_code == 128 + signal.SIGKILL
    assert ending.text == "DeadlineExceeded: the step ran longer than its deadline of 1 s"
    assert type(ending.failure()) is AirflowException, "a late step is tried again"
    assert not alive(int(lines[0]))


@pytest.mark.stack
def test_what_a_step_leaves_running_ends_with_it() -> None:
    ending, lines = run(shell("sleep 600 & echo $!"))
    assert ending.succeeded
    assert not alive(int(lines[0]))


def family(folder: Path) -> tuple[k8s.V1Pod, Callable[[], list[int]]]:
    """A pod whose step has children, one of them in a process group of its own; and their process ids once they are."""
    path = folder / "family.json"
    of = pod("python", args=["-m", "tests.plugins.probe", f"--children={path}", "--sleep=600"])
    return of, lambda: json.loads(path.read_text()) if path.exists() else []


@pytest.mark.stack
def test_cancelling_leaves_no_process_behind(tmp_path: Path) -> None:
    of, pids = family(tmp_path)
    process = PodProcess(of, lambda _line: None)
    endings: list[Ending] = []
    thread = threading.Thread(target=lambda: endings.append(process.run()))
    thread.start()
    until(pids)
    process.stop()
    thread.join(PATIENCE)
    assert endings[0].exit_code == 128 + signal.SIGTERM
    assert not [pid for pid in pids() if alive(pid)]


@pytest.mark.stack
def test_cancelling_from_a_signal_handler_of_the_following_thread_works_too(tmp_path: Path) -> None:
    # This is how Airflow does it: its SIGTERM handler calls on_kill while the same thread reads the step's output.
    of, pids = family(tmp_path)
    process = PodProcess(of, lambda _line: None)
    before = signal.signal(signal.SIGUSR1, lambda _signum, _frame: process.stop())
    try:
        threading.Thread(target=signal_once, args=(pids, signal.SIGUSR1)).start()
        assert process.run().exit_code == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not [pid for pid in pids() if alive(pid)]


@pytest.mark.stack
def test_a_step_that_is_cancelled_before_it_starts_does_not_run_on() -> None:
    process = PodProcess(pod("sleep", "600"), lambda _line: None)
    process.stop()
    assert process.run().exit_code == 128 + signal.SIGTERM


@pytest.mark.stack
def test_an_exception_in_the_worker_ends_the_step(tmp_path: Path) -> None:
    of, pids = family(tmp_path)
    process = PodProcess(of, lambda _line: None)

    def interrupt(_signum: int, _frame: object) -> None:
        raise TimeoutError("as Airflow's execution_timeout does")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        threading.Thread(target=signal_once, args=(pids, signal.SIGALRM)).start()
        with pytest.raises(TimeoutError):
            process.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not [pid for pid in pids() if alive(pid)]


@pytest.mark.stack
def test_a_worker_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    # Given a worker, which follows a step that has children
    path = tmp_path / "family.json"
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from tests.plugins.test_pod_process import family; from plugins.pod_process import PodProcess; "
            f"from pathlib import Path; PodProcess(family(Path({str(tmp_path)!r}))[0], print).run()",
        ],
        cwd=ROOT,
    )
    until(path.exists)
    pids = json.loads(path.read_text())
    assert all(alive(pid) for pid in pids)
    # When nothing warns it
    worker.kill()
    worker.wait()
    # Then all of it is gone
    until(lambda: not [pid for pid in pids if alive(pid)])
