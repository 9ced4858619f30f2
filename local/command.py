"""What a person types: `make up`, `run`, `down`, `status`, `rollback`, `backfill`, `check`, `query` and the like."""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from include.errors import ExitCode, StepError
from include.loopback import reach_directly
from include.masking import masked
from include.packages import first_package
from include.settings import refuse_unknown_variables
from include.use_case import load_use_case
from local import requirements
from local.backfill import backfill
from local.clearing import Clearing
from local.following import follow
from local.nights import nights, replay_unless_decided
from local.processes import Processes
from local.query import show
from local.run import run
from local.services import Services, locked, open_services, stop_all
from local.settings_file import read_settings_file
from local.stack import REPOSITORY, load_stack
from local.status import status

STATE = load_stack({}).state
USE_CASES = "NIGHTSHIFT_USE_CASES"


def up(services: Services) -> int:
    """Start the local services, and print their addresses and the login."""
    requirements.install(services.stack.use_cases)
    with services.locked():
        services.require_ports(interfaces=True)
        services.start_databases()
        services.start_serving()
        services.start_interfaces()
    airflow = services.airflow
    print(f"\nAirflow  {airflow.url}  (user admin, password {airflow.password})")
    print(f"MLflow   {services.mlflow.url}  ({services.mlflow.login})")
    for line in nights(services.stack.use_cases, replay=services.settings.replay, now=datetime.now(UTC)):
        print(f"nightly  {line}")
    print(f"serving  {services.serving.url}/openapi.json  (what is served: {services.serving.url}/v1/model)")
    return ExitCode.DONE


def lab(services: Services) -> int:
    """Open the notebooks in JupyterLab, connected to this stack's lake, databases and MLflow."""
    requirements.install_lock(REPOSITORY / "notebooks" / "requirements.txt")
    with services.locked():
        services.require_ports()
        services.start_databases()
    command = [sys.executable, "-m", "jupyterlab", "--ip", services.stack.host, "--notebook-dir", "notebooks"]
    command += ["--allow-root"] if os.geteuid() == 0 else []
    return subprocess.run(command, env=services.step_environment(), cwd=services.stack.root, check=False).returncode


def lock(services: Services, use_case: str) -> int:
    """Lock the `requirements.txt` of use cases beside the platform's own lock; without a name, of all that have one."""
    for path in requirements.lock(use_case or requirements.with_own(services.stack.use_cases)):
        print(f"locked {path}")
    return ExitCode.DONE


def down() -> int:
    """Stop what this checkout started, and nothing else."""
    with locked(STATE):
        for name, left in Processes(STATE / "processes").left_behind().items():
            print(f"{name} was killed: ending what it left behind ({', '.join(map(str, left))})")
        stopped = stop_all(STATE)
    print("\n".join(f"stopped {process.name} (process {process.pid})" for process in stopped) or "nothing was running")
    return ExitCode.DONE


def rollback(services: Services, version: str = "") -> int:
    """Put the previously served model back, by running the rollback step here and now."""
    with services.locked():
        services.require_ports()
        services.start_databases()
        services.start_serving()
    package = first_package(services.stack.use_cases)
    today = load_use_case(package).spec.last_day
    argv = [sys.executable, "-m", "include.steps.rollback", "--use-case", package, "--date", today.isoformat()]
    argv += ["--version", version] if version else []
    return subprocess.run(argv, env=services.step_environment(), cwd=services.stack.root, check=False).returncode


def check(services: Services, use_case: str, argv: list[str]) -> int:
    """Find the mistakes of use cases, on the lake of the running stack; of those it runs where none is named."""
    named = use_case or services.stack.use_cases
    requirements.install(named)
    command = [sys.executable, "-m", "include.check", "--use-case", named, *argv]
    return subprocess.run(command, env=services.step_environment(), cwd=services.stack.root, check=False).returncode


def airflow(services: Services, argv: list[str]) -> int:
    """Run Airflow's own command line against this stack: `make airflow ARGS="backfill create …"`."""
    with services.locked():
        services.start_databases()
    clearing = Clearing.begun(services.airflow.database_url, argv)
    command = [sys.executable, "-m", "airflow", *argv]
    environment = services.airflow.environment()
    code = subprocess.run(command, env=environment, cwd=services.stack.root, check=False).returncode
    if clearing and code == 0:
        print(clearing.told())
    return code


def _parser() -> argparse.ArgumentParser:
    """The commands and their arguments; each says in `does` what it runs."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, function: Callable[..., int], does: Callable[..., int]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=function.__doc__)
        made.set_defaults(does=does)
        return made

    commands.add_parser("down", help=down.__doc__)
    for name, function in (("up", up), ("status", status), ("lab", lab)):
        command(name, function, lambda services, _, function=function: function(services))
    back = command("rollback", rollback, lambda services, given: rollback(services, given.version))
    back.add_argument("--version", default="", help="the version to put back; the previous one if not given")
    night = command("run", run, lambda services, given: run(services, given.date, force=given.force))
    night.add_argument("--date", default="", help="the data day, YYYY-MM-DD")
    night.add_argument("--force", action="store_true", help="publish again what is published")
    past = command(
        "backfill", backfill, lambda services, given: backfill(services, given.first, given.last, force=given.force)
    )
    past.add_argument("--first", default="", help="the first data day, YYYY-MM-DD")
    past.add_argument("--last", default="", help="the last data day, YYYY-MM-DD")
    past.add_argument("--force", action="store_true", help="run days again that have succeeded")
    look = command("check", check, lambda services, given: check(services, given.use_case, given.argv))
    look.add_argument("--static", action="append_const", dest="argv", const="--static", default=[], help="no data")
    look.add_argument("--verbose", action="append_const", dest="argv", const="--verbose", help="times and remarks")
    pin = command("lock", lock, lambda services, given: lock(services, given.use_case))
    ask = command("query", show, lambda services, given: show(services, given.use_case, given.sql))
    ask.add_argument("sql", nargs="?", default="", help="a statement in DuckDB's SQL")
    for one in (look, pin, ask):
        one.add_argument("--use-case", default=os.environ.get(USE_CASES, ""), help="packages or folders")
    own = command("airflow", airflow, lambda services, given: airflow(services, given.argv))
    own.add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def main() -> None:
    """Run one command; an error is one line, and its exit code says whose fault it is."""
    arguments = _parser().parse_args()
    # In every locale: our files and child processes write UTF-8; a terminal substitutes characters that it lacks.
    os.environ["PYTHONUTF8"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    for signum in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal must leave nothing behind either
        signal.signal(signum, signal.default_int_handler)
    try:
        os.chdir(REPOSITORY)
        code = down() if arguments.command == "down" else arguments.does(_services(arguments.command), arguments)
    except StepError as error:
        print(masked(f"nightshift: {error}"), file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    except KeyboardInterrupt:
        print("nightshift: interrupted; `make status` says what is still running", file=sys.stderr)
        code = 130
    raise SystemExit(int(code))


def _services(command: str) -> Services:
    """The running stack, or the stack that this shell describes if nothing runs."""
    refuse_unknown_variables(os.environ)
    if command in ("check", "query"):  # of any package, also of one that the stack does not run
        os.environ.pop(USE_CASES, None)
    settings_file = read_settings_file(REPOSITORY / "airflow_settings.yaml")
    running = Processes(STATE / "processes").all()
    followed = follow(os.environ, running, settings_file.effective)
    if command == "status":
        print("".join(masked(f"note     {line}\n") for line in followed.differing), end="")
    else:
        followed.require_same()
        if followed.taken and command != "airflow":
            print(f"  as the running stack was started: {', '.join(sorted(followed.taken))} (`make status` shows them)")
    for name in set(os.environ) - set(followed.environment):
        del os.environ[name]
    os.environ.update(followed.environment)
    if command == "up":
        replay_unless_decided(os.environ, settings_file.variables)
    stack = load_stack()
    reach_directly(stack.reachable_host)
    return open_services(stack)
