from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.telemetry import logs
from serving.telemetry.logs import Log, _message
from serving.telemetry.trace import Trace, current

LOGGER = logging.getLogger("serving.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]
    threading.excepthook = threading.__excepthook__


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    yield Log(descriptor=descriptor)
    os.close(descriptor)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_request_is_one_line_that_can_be_followed(log: Log, path: Path) -> None:
    trace = Trace.of([(b"x-request-id", b"order-17")])

    log.start()
    log.request(trace, "POST", "/v1/predict", 200, 0.0012345678, caller="app")
    log.stop()

    (line,) = lines(path)
    assert line.pop("time").endswith("Z")
    assert line == {
        "method": "POST",
        "route": "/v1/predict",
        "status": 200,
        "seconds": 0.001235,
        "caller": "app",
        "request_id": "order-17",
        "trace_id": trace.trace_id,
        "span_id": trace.span_id,
        "parent_id": "",
        "level": "info",
        "message": "request",
    }


COMMANDS = "".join(map(chr, [*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E, 0x2066, 0xFEFF]))


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(st.sampled_from(COMMANDS + "a[m"), min_size=1))
def test_nothing_that_is_said_begins_a_line_or_commands_a_terminal(some: str, odd: str) -> None:
    reading, writing = os.pipe()
    log = Log(descriptor=writing)
    text = (some + odd).encode("utf-8", "replace").decode()

    log.start()
    LOGGER.warning("refused: %s", text)
    log.request(Trace.of([]), "GET", "/v1/model", 200, 0.1, caller=text)
    log.stop()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        written = file.read().decode()

    assert not set(COMMANDS) - {"\n"} & set(written)
    message, request = (json.loads(line) for line in written.split("\n")[:-1])
    assert (message["message"], request["caller"]) == (f"refused: {text}", text)


def test_a_line_that_comes_after_the_end_is_written_by_a_second_end(log: Log, path: Path) -> None:
    log.start()
    log.stop()
    LOGGER.warning("ended by SIGTERM")
    log.stop()

    assert [line["message"] for line in lines(path)] == ["ended by SIGTERM"]


def test_the_access_log_can_be_off(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    log = Log(access=False, descriptor=descriptor)

    log.start()
    log.request(Trace.of([]), "GET", "/healthz", 200, 0.1, caller="")
    LOGGER.info("said")
    log.stop()
    os.close(descriptor)

    assert [line["message"] for line in lines(path)] == ["said"]


def test_what_is_logged_while_a_request_is_answered_names_it(log: Log, path: Path) -> None:
    token = current.set(Trace.of([(b"x-request-id", b"order-17")]))

    log.start()
    LOGGER.warning("version %s is slow", "7")
    current.reset(token)
    LOGGER.info("quiet again")
    log.stop()

    during, after = lines(path)
    assert (during["level"], during["logger"], during["message"]) == ("warning", "serving.test", "version 7 is slow")
    assert during["request_id"] == "order-17"
    assert "request_id" not in after


def test_an_exception_is_logged_by_type_and_place_never_by_its_text_or_stack(log: Log, path: Path) -> None:
    log.start()
    try:
        float("raw input of a caller")
    except ValueError:
        LOGGER.exception("a prediction failed")
    log.stop()

    (line,) = lines(path)
    assert line["error"] == "ValueError"
    assert line["at"].startswith("telemetry/test_logs.py:")
    assert "raw input" not in path.read_text()
    assert "Traceback" not in path.read_text()


def test_the_last_words_of_a_thread_are_type_and_place_too(
    log: Log, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log.start()
    thread = threading.Thread(target=float, args=("raw input of a caller",), name="samples")
    thread.start()
    thread.join()
    log.stop()

    (line,) = lines(path)
    assert (line["message"], line["error"]) == ("thread samples ended", "ValueError")
    assert "raw input" not in path.read_text() + capfd.readouterr().err


@pytest.mark.parametrize(("text", "arguments"), [("half \ud800 a pair", ()), ("%d rows", ("many",)), ("%s %s", (1,))])
def test_a_line_that_cannot_be_formatted_is_logged_all_the_same(
    log: Log, path: Path, text: str, arguments: tuple[object, ...]
) -> None:
    log.start()
    LOGGER.info(text, *arguments)
    LOGGER.info("and the next")
    log.stop()

    assert [line["message"] for line in lines(path)] == [_message(logging.makeLogRecord({"msg": text})), "and the next"]


def test_when_nobody_reads_the_log_requests_go_on_and_the_loss_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pipe that nobody reads, and room for a few lines
    monkeypatch.setattr(logs, "MAX_WAITING", 100)
    monkeypatch.setattr(logs, "DRAIN_SECONDS", 0.2)
    reader, writer = os.pipe()
    log = Log(descriptor=writer)
    log.start()

    # When far more is logged than pipe and memory take
    for _ in range(20_000):
        log.request(Trace.of([]), "POST", "/v1/predict", 200, 0.001, caller="app")
    log.stop()

    # Then the loss is counted, and neither the requests nor the end waited for a reader: none ever comes
    assert log.dropped >= 10_000
    os.close(reader)
    os.close(writer)


def test_a_disk_that_takes_nothing_costs_lines_and_nothing_else() -> None:
    with Path("/dev/full").open("wb") as full:
        log = Log(descriptor=full.fileno())
        log.start()
        log.request(Trace.of([]), "GET", "/healthz", 200, 0.1, caller="")
        log.stop()

    assert log.dropped == 1
