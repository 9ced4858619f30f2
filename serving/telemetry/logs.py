"""JSON logs, one object a line, written in batches by a thread so that no request waits for a disk or a pipe.

A line never holds what a request sent, nor an exception's text or stack: only its type and where it was raised.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime

import msgspec

from serving.telemetry.trace import Trace, current

MAX_WAITING = 20_000
"""Lines that may wait to be written (about 10 MB); further ones are dropped and counted."""
BATCH = 500
"""Lines encoded in one go: a fraction of a millisecond, because other threads wait as long."""
PAUSE_SECONDS = 0.1
DRAIN_SECONDS = 2.0


class LogLine(msgspec.Struct, omit_defaults=True, gc=False):
    """A line that something in the server said; `error` and `at` are an exception's type and place."""

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str = ""
    trace_id: str = ""
    error: str = ""
    at: str = ""


class AccessLine(msgspec.Struct, gc=False):
    """A request that was answered; `route` is the path's template, because a path may hold what the caller sent."""

    time: datetime
    method: str
    route: str
    status: int
    seconds: float
    caller: str
    request_id: str
    trace_id: str
    span_id: str
    parent_id: str
    level: str = "info"
    message: str = "request"


class LineWriter:
    """Takes lines without waiting, and writes them to a file descriptor from a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._waiting: deque[LogLine | AccessLine] = deque()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, line: LogLine | AccessLine) -> None:
        """Queue a line, or drop it if too many wait."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(line)
        else:
            self.dropped += 1

    def start(self) -> None:
        """Begin to write; before that, lines wait."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, within `DRAIN_SECONDS`: a reader that has stalled is not waited for.

        It may be called again, for lines that came since.
        """
        self._ended.set()
        if self._thread is not None:
            self._thread.join(DRAIN_SECONDS)
            if not self._thread.is_alive():
                self._flush()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            lines = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                self._write(_printable(_encoder.encode_lines(lines)))
            except (OSError, ValueError):
                self.dropped += len(lines)

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                time.sleep(PAUSE_SECONDS)


class JsonHandler(logging.Handler):
    """Python's own logging as lines of JSON."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Put the record among the lines to be written."""
        trace = current.get()
        event = LogLine(
            datetime.fromtimestamp(record.created, UTC),
            record.levelname.lower(),
            record.name,
            _message(record),
            trace.request_id if trace else "",
            trace.trace_id if trace else "",
        )
        if record.exc_info and record.exc_info[1] is not None:
            event.error = type(record.exc_info[1]).__name__
            event.at = _place(record.exc_info[1])
        self._writer.put(event)


class Log:
    """The server's log: Python's logging and the access lines, through one writer."""

    def __init__(self, *, access: bool = True, descriptor: int | None = None) -> None:
        self.writer = LineWriter(sys.stderr.fileno() if descriptor is None else descriptor)
        self._access = access

    @property
    def dropped(self) -> int:
        """Lines that were not written because too many waited, or the reader stalled."""
        return self.writer.dropped

    def start(self, level: int = logging.INFO) -> None:
        """Take over Python's root logger and the last words of threads, and begin to write."""
        threading.excepthook = _thread_ended
        logging.basicConfig(level=level, handlers=[JsonHandler(self.writer)], force=True)
        self.writer.start()

    def stop(self) -> None:
        """Write what waits."""
        self.writer.stop()

    def request(self, trace: Trace, method: str, route: str, status: int, seconds: float, *, caller: str) -> None:
        """Note a request that was answered."""
        if self._access:
            self.writer.put(
                AccessLine(
                    datetime.now(UTC), method, route, status, round(seconds, 6), caller,
                    trace.request_id, trace.trace_id, trace.span_id, trace.parent_id,
                )
            )  # fmt: skip


def _thread_ended(last: threading.ExceptHookArgs) -> None:
    """Python itself would print the stack."""
    if last.exc_value is not None:
        name = last.thread.name if last.thread else ""
        logging.getLogger("serving").error("thread %s ended", name, exc_info=last.exc_value)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        text = str(record.msg)
    return text.encode("utf-8", "replace").decode()


def _place(error: BaseException) -> str:
    """File and line where it was raised."""
    step = error.__traceback__
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    return f"{'/'.join(step.tb_frame.f_code.co_filename.split('/')[-2:])}:{step.tb_lineno}"


def _printable(lines: bytes) -> bytes:
    """Lines of JSON that also escape what a terminal or a reader could take for a command or a new line."""
    return lines if lines.isascii() and b"\x7f" not in lines else _COMMANDS.sub(_escaped, lines.decode()).encode()


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


# DEL, C1 controls, line and paragraph separators, and what turns the direction of writing; JSON has escaped the rest.
_COMMANDS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_encoder = msgspec.json.Encoder()
