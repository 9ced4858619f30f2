"""`python -m serving [--workers N]`: serve until SIGTERM, then answer what is under way and leave."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
from collections.abc import Sequence

from formats.variables import VariableError
from serving.errors import KeysError
from serving.processes import listener
from serving.processes.workers import BAD_SETTINGS, Parent
from serving.settings import ServingSettings
from serving.telemetry import tally
from serving.telemetry.logs import Log

logger = logging.getLogger("serving")


def main(arguments: Sequence[str] | None = None) -> None:
    """Listen where the settings say; a bad setting or a taken port is one line and exit code 78."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = ServingSettings.load(os.environ, **({} if parsed.workers is None else {"workers": parsed.workers}))
        complaint = ""
    except VariableError as error:
        complaint = str(error)
    log = Log(access=not complaint and settings.access_log)
    log.start()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every call to an upstream
    try:
        raise SystemExit(_give_up(complaint) if complaint else _run(parsed, settings, log))
    finally:
        log.stop()


def _run(parsed: argparse.Namespace, settings: ServingSettings, log: Log) -> int:
    if parsed.fd is not None:
        return _serve(settings, listener.inherited(parsed.fd), log, child=True)
    try:
        opened = listener.listen(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        return _give_up(f"serving cannot listen on {where}: {error.strerror}; free the port or set SERVING_PORT")
    logger.info("serving on http://%s:%s", *opened.getsockname()[:2])
    try:
        tally.clear(settings.state / tally.FOLDER)
    except OSError as error:
        logger.error("serving cannot write to %s (%s); see SERVING_STATE", settings.state, error.strerror)  # noqa: TRY400
    if settings.workers > 1:
        return Parent(settings, opened).run()
    return _serve(settings, opened, log, child=False)


def _serve(settings: ServingSettings, opened: socket.socket, log: Log, *, child: bool) -> int:
    # What is loaded now stays loaded. Excluding it from garbage collection avoids pauses of 25 ms or more.
    gc.disable()
    # Only here: a parent process needs none of it.
    from serving.app import create_app
    from serving.processes.server import Server

    try:
        app = create_app(settings, log)
    except KeysError as error:
        return _give_up(f"SERVING_KEYS: {error}")
    except VariableError as error:
        return _give_up(str(error))
    gc.freeze()
    gc.enable()
    Server(app, settings, opened, child=child).serve_until_told()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="The prediction API; settings: SERVING_*.")
    parser.add_argument("--workers", type=int, help="processes that share the port; default: SERVING_WORKERS, or 1")
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)  # what a parent gives its workers to listen on
    return parser


def _give_up(line: str) -> int:
    logger.error("%s", line)
    return BAD_SETTINGS


if __name__ == "__main__":
    main()
