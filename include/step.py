"""How every step runs: arguments in, one JSON result or one line of error out, a report in the lake beside it."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from include.errors import ExitCode, SettingsError, StepError
from include.failure import failure
from include.log_lines import LineFormatter
from include.masking import MaskedStream, mask_output, own_mask
from include.settings import PREFIX, Settings, load_settings
from include.stop import Stop
from include.storage.lake import Lake, to_json
from include.termination import RESULT_BYTES, TERMINATION_LOG, one_line
from include.use_case import UseCase, load_use_case

RUN = f"{PREFIX}RUN"
OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""A step mostly loads libraries, which is an eighth faster with rarer garbage collection."""

LAST_WORDS_SECONDS = 2.0
"""How long a stopped process tries to write its report."""

log = logging.getLogger("nightshift")


class StepArguments(BaseModel):
    """Command-line arguments of every step: the use case, the data day, and whether to publish again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use_case: str
    date: date
    force: bool = False

    @field_validator("date", mode="before")
    @classmethod
    def _written_in_full(cls, value: object) -> object:
        # Bare digits would pass as seconds since 1970.
        if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise PydanticCustomError("date_form", "write it as YYYY-MM-DD")
        return value


@dataclass(frozen=True)
class Context:
    """What a step works with: its deployment, its use case and its lake."""

    settings: Settings
    use_case: UseCase
    lake: Lake


@dataclass(frozen=True)
class Result:
    """A step's result, in at most 4 KiB of JSON: rows per dataset, figures, addresses, plain remarks."""

    rows: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    uris: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The result as one line; `StepError` when it is larger than a termination message may be."""
        body = json.loads(json.dumps({name: value for name, value in vars(self).items() if value}, default=str))
        text = json.dumps(own_mask().inside(body), separators=(",", ":"))
        if len(text.encode()) > RESULT_BYTES:
            raise StepError(
                f"a result of {len(text.encode())} bytes, {RESULT_BYTES} at most; put its bulk into the lake"
            )
        return text


A = TypeVar("A", bound=StepArguments)


def open_context(use_case: str, settings: Settings | None = None) -> Context:
    """A context for calling step functions by hand, as in a notebook."""
    settings = settings or load_settings()
    loaded = load_use_case(use_case)
    return Context(settings, loaded, Lake.open(settings, loaded.name))


def main(arguments: type[A], step: Callable[[Context, A], Result], argv: Sequence[str] | None = None) -> None:
    """Run a step as a process: the whole of every step module's command line.

    The termination message (result or one-line error) goes where Kubernetes looks for it. Exit codes: `ExitCode`.
    `argv` is for a caller that continues; with the process's own arguments this ends the process.
    """
    if argv is None:
        mask_output()
        stop = Stop(partial(_last_words, None, {}))
        stop.listen()
        code = _run(arguments, step, sys.argv[1:], stop)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # All is written. An orderly exit would take half a second more, to unload MLflow and scikit-learn.
        os._exit(code)
    with redirect_stdout(MaskedStream(sys.stdout, own_mask())), redirect_stderr(MaskedStream(sys.stderr, own_mask())):
        code = _run(arguments, step, argv, Stop(partial(_last_words, None, {})))
    raise SystemExit(int(code))


def _run(arguments: type[A], step: Callable[[Context, A], Result], argv: Sequence[str], stop: Stop) -> ExitCode:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    started = process_start()
    context: Context | None = None
    package = ""
    report: dict[str, Any] = {"step": _name(step), "started": started.isoformat(), "state": "running"}
    try:
        stop.work_begins()
        parsed = parse(arguments, argv)
        package = parsed.use_case
        context = open_context(package)
        stop.last_words = partial(_last_words, context, report)
        _report(context, report)
        clock = time.monotonic()
        result = step(context, parsed)
        seconds = time.monotonic() - clock
        message, code = result.to_json(), ExitCode.DONE
        report |= {"state": "done", "result": json.loads(message), "function_seconds": round(seconds, 3)}
        stop.work_is_over()
    except BaseException as error:
        stop.work_is_over()
        if isinstance(error, KeyboardInterrupt):
            raise
        # An interrupted library may raise an error of its own: Spark's client does.
        failed = failure(stop.error or error, package)
        if failed.unforeseen:
            traceback.print_exc()
        message, code = one_line(failed.message), failed.code
        report |= {"state": "failed", "error": message}
    finished = datetime.now(UTC)
    report |= {
        "finished": finished.isoformat(),
        "seconds": round((finished - started).total_seconds(), 3),
        "peak_rss_mib": peak_rss_mib(),
    }
    if context is not None:
        try:
            _report(context, report)
        except Exception as error:  # whatever it is, it is not the step's own error
            log.warning("step report not written: %s", error)
    if code is not ExitCode.DONE:
        log.error("%s", message)
    _terminate(message)
    return code


def _last_words(context: Context | None, report: Mapping[str, Any], message: str) -> None:
    """Report the end of the process while a library holds its thread, and perhaps its streams."""
    message = one_line(message)
    os.write(1, f"{message}\n".encode())
    _terminate(message)
    if context is not None:
        ended = {**report, "state": "failed", "error": message, "finished": datetime.now(UTC).isoformat()}
        writer = threading.Thread(target=_report, args=(context, ended), daemon=True)
        writer.start()
        writer.join(LAST_WORDS_SECONDS)  # the lake may be the part that does not answer


def parse(arguments: type[A], argv: Sequence[str]) -> A:
    """Arguments from a command line; `--name value` for each field, a bare `--name` for a flag."""
    parser = argparse.ArgumentParser(prog=arguments.__module__, allow_abbrev=False, exit_on_error=False)
    for name, info in arguments.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        if info.annotation is bool:
            parser.add_argument(option, nargs="?", const="true", default=argparse.SUPPRESS)
        else:
            parser.add_argument(option, default=argparse.SUPPRESS)
    try:
        known, unknown = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise SettingsError(str(error)) from None
    if unknown:
        raise SettingsError(f"unknown argument {unknown[0]}; known: {', '.join(arguments.model_fields)}")
    try:
        return arguments.model_validate(vars(known))
    except ValidationError as error:
        first = error.errors()[0]
        given = "" if first["type"] == "missing" else f" {first['input']!r}"
        raise SettingsError(f"--{str(first['loc'][0]).replace('_', '-')}{given}: {first['msg']}") from None


def peak_rss_mib() -> float:
    """Peak resident memory of this process and of its largest finished child, in MiB (Linux counts in KiB)."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(max(own, children) / 1024, 1)


def process_start() -> datetime:
    """When this process began, UTC: loading the interpreter and libraries is the step's own time, not Airflow's."""
    now = datetime.now(UTC)
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except OSError:
        return now
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return now - timedelta(seconds=max(age, 0.0))


def report_name(run: str) -> str:
    """The lake object that holds the report of `dag/run/task`."""
    return f"runs/{re.sub(r'[^A-Za-z0-9_./-]', '_', run)}.json"


def _name(step: Callable[..., Result]) -> str:
    """The step's module, also where it runs as `__main__`."""
    spec = getattr(sys.modules[step.__module__], "__spec__", None)
    return spec.name if spec else step.__module__


def _report(context: Context, report: Mapping[str, Any]) -> None:
    if run := os.environ.get(RUN):
        context.lake.put(report_name(run), to_json(report))


def _terminate(message: str) -> None:
    # Kubernetes makes this file before the container starts; without it no message is wanted.
    path = Path(os.environ.get(TERMINATION_LOG, "/dev/termination-log"))
    if TERMINATION_LOG in os.environ or path.exists():
        try:
            path.write_text(message, encoding="utf-8")
        except OSError as error:
            log.warning("termination message not written: %s", error)
