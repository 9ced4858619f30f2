"""OpenTelemetry spans for requests, models and upstreams: off by default, and then not imported.

A collector's credentials come from OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_HEADERS.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.telemetry.trace import Trace, current

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

TRACES = "/v1/traces"
QUEUE = 2_048
EXPORT_SECONDS = 5
DRAIN_SECONDS = 2
_NOTHING = nullcontext()


@dataclass(frozen=True)
class Destination:
    """A collector's address, and the share of the traces beginning here that is recorded."""

    endpoint: str
    share: float


class Tracing:
    """The spans of this process, sent to one collector in batches by a thread of their own; a full queue drops them."""

    def __init__(self, to: Destination) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        url = to.endpoint if to.endpoint.endswith(TRACES) else to.endpoint.rstrip("/") + TRACES
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS)
        resource = Resource.create({"service.name": "nightshift-serving"})
        self._provider: TracerProvider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(to.share)), resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE))
        self.tracer: Tracer = self._provider.get_tracer("serving")

    def stop(self) -> None:
        """Send what waits, if the collector takes it within `DRAIN_SECONDS`."""
        # In a thread: OpenTelemetry's own shutdown waits for an export under way, however long that takes.
        ending = threading.Thread(target=self._end, name="last spans", daemon=True)
        ending.start()
        ending.join(DRAIN_SECONDS)

    def _end(self) -> None:
        self._provider.force_flush(DRAIN_SECONDS * 1000)
        self._provider.shutdown()


class RequestSpan:
    """The span of a request while it is answered; its ids become the ids of the request's trace."""

    def __init__(self, tracer: Tracer, trace: Trace) -> None:
        from opentelemetry import context
        from opentelemetry.trace import SpanKind, set_span_in_context

        caller = _remote(trace) if trace.parent_id else context.Context()
        self._span = tracer.start_span("request", caller, SpanKind.SERVER)
        self._token = context.attach(set_span_in_context(self._span, caller))
        _adopt(trace, self._span)

    def end(self, method: str, route: str, status: int) -> None:
        """Close it, named for its route as OpenTelemetry's conventions for HTTP have it."""
        from opentelemetry import context
        from opentelemetry.trace import Status, StatusCode

        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        context.detach(self._token)


def start(to: Destination) -> None:
    """Record requests, of those that continue a trace the ones their caller records, and send their spans."""
    global _tracing  # noqa: PLW0603 (one a process, as OpenTelemetry itself has it)
    _tracing = Tracing(to)


def stop() -> None:
    """Send what waits and record no more."""
    global _tracing  # noqa: PLW0603
    if _tracing is not None:
        _tracing.stop()
        _tracing = None


def request(trace: Trace) -> RequestSpan | None:
    """Begin a request's span; None when tracing is off."""
    return None if _tracing is None else RequestSpan(_tracing.tracer, trace)


def span(name: str, **attributes: str | int | float) -> AbstractContextManager[Any]:
    """A span around a part of the request's work, such as the model's or an upstream's; nothing when tracing is off."""
    if _tracing is None:
        return _NOTHING
    return _inner_span(_tracing.tracer, name, attributes)


@contextmanager
def _inner_span(tracer: Tracer, name: str, attributes: Mapping[str, str | int | float]) -> Iterator[None]:
    from opentelemetry.trace import Status, StatusCode

    # By default the library would put the exception's text on the span, and that may repeat what a caller sent.
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as inner:
        try:
            yield
        except Exception as error:
            inner.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def outgoing() -> dict[str, str]:
    """The headers that let an upstream continue the trace of the request that is answered here."""
    trace = current.get()
    if trace is None:
        return {}
    return trace.headers() if _tracing is None else trace.headers(_inner(trace))


def _inner(trace: Trace) -> str:
    from opentelemetry.trace import get_current_span

    inside = get_current_span().get_span_context()
    return (
        f"00-{trace.trace_id}-{inside.span_id:016x}-{int(trace.sampled):02x}" if inside.is_valid else trace.traceparent
    )


def _remote(trace: Trace) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    caller = SpanContext(
        int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=TraceFlags(int(trace.sampled))
    )
    return set_span_in_context(NonRecordingSpan(caller))


def _adopt(trace: Trace, span: Span) -> None:
    found = span.get_span_context()
    trace_id = f"{found.trace_id:032x}"
    if trace.request_id == trace.trace_id:
        trace.request_id = trace_id
    trace.trace_id, trace.span_id, trace.sampled = trace_id, f"{found.span_id:016x}", found.trace_flags.sampled


_tracing: Tracing | None = None
