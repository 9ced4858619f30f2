"""What a person types: `make up`, `run`, `down`, `status`, `rollback`, `backfill`, `airflow`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from include.errors import ExitCode, StepError
from include.local.backfill import backfill
from include.local.run import run
from include.local.services import Services, open_services
from include.local.stack import load_stack
from include.local.status import status
from include.loopback import reach_directly
from include.masking import masked
from include.use_case import first_package, load_use_case


def up(services: Services) -> int:
    """Start the long-lived things, and say where they are and how to log in."""
    with services.locked():
        services.require_ports(interfaces=True)
        services.start_databases()
        services.start_serving()
        services.start_interfaces()
    airflow = services.airflow
    print(f"\nAirflow  {airflow.url}  (user admin, password {airflow.password})")
    print(f"MLflow   {services.mlflow.url}  (user admin, password {services.mlflow.password})")
    print(f"serving  {services.serving.url}/openapi.json  (what is served: {services.serving.url}/v1/model)")
    return ExitCode.DONE


def down(services: Services) -> int:
    """Stop what this checkout started, and nothing else."""
    with services.locked():
        stopped = services.stop()
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


def airflow(services: Services, argv: list[str]) -> int:
    """Run Airflow's own command line against this stack: `make airflow ARGS="backfill create …"`."""
    with services.locked():
        services.start_databases()
    command = [sys.executable, "-m", "airflow", *argv]
    return subprocess.run(command, env=services.airflow.environment(), cwd=services.stack.root, check=False).returncode


def main() -> None:
    """Run one command; an error is one line, and its exit code says whose fault it is."""
    parser = argparse.ArgumentParser(prog="python -m include.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (("up", up), ("down", down), ("status", status)):
        commands.add_parser(name, help=does.__doc__).set_defaults(does=lambda services, _, does=does: does(services))
    back = commands.add_parser("rollback", help=rollback.__doc__)
    back.add_argument("--version", default="", help="the version to put back; the previous one if not given")
    back.set_defaults(does=lambda services, given: rollback(services, given.version))
    night = commands.add_parser("run", help=run.__doc__)
    night.add_argument("--date", default="", help="the data day, YYYY-MM-DD")
    night.add_argument("--force", action="store_true", help="publish again what is published")
    night.set_defaults(does=lambda services, given: run(services, given.date, force=given.force))
    past = commands.add_parser("backfill", help=backfill.__doc__)
    past.add_argument("--first", default="", help="the first data day, YYYY-MM-DD")
    past.add_argument("--last", default="", help="the last data day, YYYY-MM-DD")
    past.add_argument("--force", action="store_true", help="run days again that have succeeded")
    past.set_defaults(does=lambda services, given: backfill(services, given.first, given.last, force=given.force))
    own = commands.add_parser("airflow", help=airflow.__doc__)
    own.add_argument("argv", nargs=argparse.REMAINDER)
    own.set_defaults(does=lambda services, given: airflow(services, given.argv))
    arguments = parser.parse_args()
    for signum in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal must leave nothing behind either
        signal.signal(signum, signal.default_int_handler)
    try:
        stack = load_stack()
        os.chdir(stack.root)
        reach_directly(stack.reachable_host)
        code = arguments.does(open_services(stack), arguments)
    except StepError as error:
        print(masked(f"nightshift: {error}"), file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("nightshift: interrupted; `make status` says what is still running", file=sys.stderr)
        code = 130
    raise SystemExit(int(code))
