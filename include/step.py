"""How every step runs: arguments in, one JSON result or one line of error out, a report in the lake beside it."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from include.command_line import parse
from include.errors import ExitCode, StepError
from include.failure import failure
from include.log_lines import LineFormatter, below
from include.masking import MaskedStream, mask_output, own_mask
from include.packages import first_package, named_use_cases
from include.report import Report
from include.settings import Settings, load_settings
from include.step_specs import written_by
from include.stop import Stop
from include.storage.lake import Lake
from include.termination import RESULT_BYTES, one_line, terminate
from include.use_case import UseCase, load_use_case

OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""A step mostly loads libraries, which is an eighth faster with rarer garbage collection."""

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


def open_context(use_case: str = "", settings: Settings | None = None) -> Context:
    """A context for calling step functions by hand, as in a notebook; by default of the use case that commands take."""
    settings = settings or load_settings()
    named = use_case or first_package(named_use_cases(os.environ))
    loaded = load_use_case(named)
    return Context(settings, loaded, Lake.open(settings, loaded.name))


def main(arguments: type[A], step: Callable[[Context, A], Result], argv: Sequence[str] | None = None) -> None:
    """Run a step as a process: the whole of every step module's command line.

    The termination message (result or one-line error) goes where Kubernetes looks for it. Exit codes: `ExitCode`.
    `argv` is for a caller that continues; with the process's own arguments this ends the process.
    """
    report = Report(_name(step))
    stop = Stop(report.last_words)
    if argv is None:
        mask_output()
        stop.listen()
        code = _run(arguments, step, sys.argv[1:], stop, report)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # All is written. An orderly exit would take half a second more, to unload MLflow and scikit-learn.
        os._exit(code)
    with redirect_stdout(MaskedStream(sys.stdout, own_mask())), redirect_stderr(MaskedStream(sys.stderr, own_mask())):
        code = _run(arguments, step, argv, stop, report)
    raise SystemExit(int(code))


def _run(
    arguments: type[A], step: Callable[[Context, A], Result], argv: Sequence[str], stop: Stop, report: Report
) -> ExitCode:
    _begin_log()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    message, code = _outcome(arguments, step, argv, stop, report)
    report.end()
    if code is not ExitCode.DONE:
        log.error("%s", message)
    terminate(message)
    return code


def _outcome(
    arguments: type[A], step: Callable[[Context, A], Result], argv: Sequence[str], stop: Stop, report: Report
) -> tuple[str, ExitCode]:
    """The termination message and exit code of a step's work; the report has noted either."""
    package = ""
    try:
        stop.work_begins()
        parsed = parse(arguments, argv)
        package = parsed.use_case
        context = open_context(package)
        report.begin(context.lake)
        clock = time.monotonic()
        result = step(context, parsed)
        _log_tables(context, _name(step))
        seconds = time.monotonic() - clock
        message = result.to_json()
        report.done(message, seconds)
        stop.work_is_over()
    except BaseException as error:
        stop.work_is_over()
        if isinstance(error, KeyboardInterrupt):
            raise
        # An interrupted library may raise an error of its own: Spark's client does.
        failed = failure(stop.error or error, package)
        if failed.unforeseen:
            print(below(traceback.format_exc()), file=sys.stderr)
        message = one_line(failed.message)
        report.failed(message)
        return message, failed.code
    return message, ExitCode.DONE


def _log_tables(context: Context, module: str) -> None:
    """Show other engines what the step has published, or an earlier attempt that was killed before it could.

    What was superseded long ago goes.
    """
    written = written_by(module, context.use_case.spec)
    if written or context.lake.published:
        from include.storage.delta_log import follow
        from include.storage.superseded import vacuum

        settings = context.settings
        grace = timedelta(days=settings.superseded_days)
        follow(context.lake, written, grace=grace, s3_endpoint=settings.s3_endpoint)
        vacuum(context.lake, written, grace=grace)


def _begin_log() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _name(step: Callable[..., Result]) -> str:
    """The step's module, also where it runs as `__main__`."""
    spec = getattr(sys.modules[step.__module__], "__spec__", None)
    return spec.name if spec else step.__module__
