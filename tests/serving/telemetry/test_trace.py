from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.telemetry.trace import Trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def of(**headers: str) -> Trace:
    return Trace.of([(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()])


def test_a_callers_trace_is_continued() -> None:
    trace = of(traceparent=f"00-{TRACE}-{SPAN}-01", x_request_id="order-17")

    assert (trace.trace_id, trace.parent_id, trace.sampled, trace.request_id) == (TRACE, SPAN, True, "order-17")
    assert trace.span_id != SPAN
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-01"


def test_what_the_callers_tracer_wants_told_is_handed_on() -> None:
    given = f"00-{TRACE}-{SPAN}-01"

    assert of(traceparent=given, tracestate="vendor=1,other=2").headers()["tracestate"] == "vendor=1,other=2"
    for header in ("", "x" * 513, "é"):
        assert "tracestate" not in of(traceparent=given, tracestate=header).headers()
    assert "tracestate" not in of(tracestate="vendor=1").headers()


def test_a_newer_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    assert of(traceparent=f"cc-{TRACE}-{SPAN}-00-what-the-future-brings").trace_id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "no trace",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_malformed_header_starts_a_new_trace(header: str) -> None:
    trace = of(traceparent=header)

    assert (trace.parent_id, trace.sampled) == ("", False)
    assert trace.trace_id not in (TRACE, "0" * 32)


@pytest.mark.parametrize("header", ["", "two words", "x" * 129, 'a"b', "é", "a\nb"])
def test_a_request_id_that_could_spoil_a_log_is_replaced(header: str) -> None:
    trace = of(x_request_id=header)

    assert trace.request_id == trace.trace_id


@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"x-request-id", b"host"]), st.binary(max_size=80))))
def test_whatever_is_sent_there_is_a_sound_trace(headers: list[tuple[bytes, bytes]]) -> None:
    trace = Trace.of(headers)

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace.traceparent)
    assert re.fullmatch(r"[A-Za-z0-9._:/+=-]{1,128}", trace.request_id)


def test_no_two_requests_have_the_same_ids() -> None:
    traces = [Trace.of([]) for _ in range(1_000)]

    assert len({trace.trace_id for trace in traces}) == len({trace.span_id for trace in traces}) == 1_000
