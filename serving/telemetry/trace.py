"""The identity of a request: its request id, and its place in a W3C trace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from random import getrandbits

import msgspec

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_STATE = re.compile(rb"[\x20-\x7e]{1,512}")
_NOT_ZERO = 1 << 64 | 1
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_SAMPLED = 1


class Trace(msgspec.Struct, gc=False):
    """Ids in lower-case hex, as https://www.w3.org/TR/trace-context/ (level 1) has them; `parent_id` empty at a root.

    The request id is the caller's if it is well-formed, otherwise the trace id. `state` is the caller's
    `tracestate`, handed on as it is.
    """

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = False
    state: str = ""

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> Trace:
        """What an ASGI request's headers continue, or a new trace; a malformed header counts as absent."""
        given_id = traceparent = state = b""
        for name, value in headers:
            if name == b"traceparent":
                traceparent = value
            elif name == b"x-request-id":
                given_id = value
            elif name == b"tracestate":
                state = value
        ids = f"{getrandbits(192) | _NOT_ZERO:048x}"
        trace_id, span_id, parent_id, sampled = ids[:32], ids[32:], "", False
        caller = _parsed(traceparent) if traceparent else None
        if caller is not None:
            trace_id, parent_id, sampled = caller
        request_id = given_id.decode() if given_id and _REQUEST_ID.fullmatch(given_id) else trace_id
        handed_on = state.decode() if caller is not None and _STATE.fullmatch(state) else ""
        return cls(request_id, trace_id, span_id, parent_id, sampled, handed_on)

    @property
    def traceparent(self) -> str:
        """The header for a call made on behalf of this request."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def headers(self, traceparent: str = "") -> dict[str, str]:
        """The headers of such a call, with its own traceparent if there is one."""
        told = {"x-request-id": self.request_id, "traceparent": traceparent or self.traceparent}
        return told | ({"tracestate": self.state} if self.state else {})


def _parsed(traceparent: bytes) -> tuple[str, str, bool] | None:
    """Trace id, caller's span id and whether it records; None for what the standard says to ignore."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED)


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The request that is being answered here, for log lines and calls to upstreams."""
