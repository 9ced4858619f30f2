"""Counts and times, and the page that Prometheus reads."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from formats.answers.kinds import AnswerKind
from formats.portable_model import Found
from serving.errors import FetchError
from serving.settings import ServingSettings
from serving.telemetry import tracing
from serving.telemetry.logs import Log
from serving.telemetry.sampling import PATIENCE_SECONDS, Rotation, Sampler
from serving.telemetry.tally import FOLDER, Family, MetricKind, ProcessMetrics
from stores.store import open_store

PUBLISH_SECONDS = 0.25
PENDING = 4_096
"""Answers that wait to be put into buckets; then the next one does it at once."""
VERSIONS = 32
"""Versions whose predictions are counted separately; the oldest is forgotten first."""

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Latency buckets: dense where a single row is answered, with the forecast's promise of 2 s as a bound."""
LEVELS = tuple(round(step * 0.05, 2) for step in range(1, 21))


class Shed(StrEnum):
    """Why a request was turned away before any work was done for it."""

    QUEUE_FULL = "queue_full"
    TIMEOUT = "timeout"


class CacheLookup(StrEnum):
    """What a cache had."""

    HIT = "hit"
    STALE = "stale"
    MISS = "miss"


class UpstreamOutcome(StrEnum):
    """How a call to an upstream ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"


class VersionRole(StrEnum):
    """What a version does: it serves, or it is on trial (shadow or canary)."""

    IN_SERVICE = "in_service"
    ON_TRIAL = "on_trial"


class Fate(StrEnum):
    """The outcome of a sample."""

    WRITTEN = "written"
    DROPPED = "dropped"


@dataclass(frozen=True)
class ModelState:
    """A version, its role, and its share of the traffic in [0, 1]."""

    version: str
    use_case: str
    sha256: str
    role: VersionRole
    share: float


@dataclass(frozen=True)
class ReleaseState:
    """How a use case's releases are followed: the newest entry read, seconds since they were in reach (None: never)."""

    use_case: str
    entry: int
    age: float | None
    failed: bool


class Telemetry(Collector):
    """Receives the reports of all of serving. Calls are cheap, never raise, and come from the event loop's thread."""

    def __init__(
        self,
        folder: Path | None = None,
        sampler: Sampler | None = None,
        log: Log | None = None,
        collector: tracing.Destination | None = None,
    ) -> None:
        self._seconds = Family(
            "serving_request_seconds", "Time to answer.", MetricKind.HISTOGRAM, ("route", "method", "status"), SECONDS
        )
        self._predictions = Family(
            "serving_prediction_probability",
            "Probabilities answered; of a regression, the places among the labels it learned from.",
            MetricKind.HISTOGRAM,
            ("use_case", "version"),
            LEVELS,
        )
        self._in_flight = _gauge("serving_requests_in_flight", "Requests being answered.")
        self._queue = _gauge("serving_queue_length", "Requests that wait for their turn.")
        self._rss = _gauge("serving_resident_bytes", "Memory of all workers.")
        self._workers = _gauge("serving_workers", "Live worker processes.")
        self._shed = _counter("serving_shed", "Requests turned away to protect the others.", "reason")
        self._limited = _counter("serving_rate_limited", "Requests over their caller's rate.")
        self._lookups = _counter("serving_cache_lookups", "Cache lookups.", "cache", "outcome")
        self._entries = _gauge("serving_cache_entries", "Entries held, over all workers.", "cache")
        self._loading = _gauge("serving_cache_loads_in_flight", "Answers being asked for.", "cache")
        self._loaded = _counter("serving_cache_loads", "Answers that were asked for.", "cache", "outcome")
        self._hedges = _counter("serving_upstream_hedges", "Calls asked a second time.", "upstream")
        self._upstream = Family(
            "serving_upstream_seconds", "Time of a call.", MetricKind.HISTOGRAM, ("upstream", "outcome"), SECONDS
        )
        self._open = _gauge("serving_upstream_open", "Workers that do not ask it for now.", "upstream")
        self._samples = _counter("serving_samples", "Rows picked for the lake, by what became of them.", "outcome")
        self._unsampled = _counter("serving_samples_skipped", "Requests not picked because enough rows were.")
        self._lost_lines = _counter("serving_log_lines_dropped", "Log lines nobody took in time.")
        self._sampler = sampler
        self._log = log
        self._collector = collector
        for reason in Shed:
            self._shed[(reason,)] = [0.0]  # there from the beginning, so that the first one is an increase
        self._in_flight[()], self._queue[()], self._limited[()], self._workers[()] = [0.0], [0.0], [0.0], [1.0]
        self._answering = self._in_flight[()]
        self._waiting = self._queue[()]
        self._pending: deque[tuple[tuple[str, str], Found, AnswerKind]] = deque()
        self._sorting = threading.Lock()
        self._models: Callable[[], Iterable[ModelState]] = tuple
        self._releases: Callable[[], Iterable[ReleaseState]] = tuple
        self.tally = ProcessMetrics(
            (
                self._seconds, self._predictions, self._in_flight, self._queue, self._rss, self._workers, self._shed,
                self._limited, self._lookups, self._entries, self._loading, self._loaded, self._hedges, self._upstream,
                self._open, self._samples, self._unsampled, self._lost_lines,
            ),
            folder,
        )  # fmt: skip
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, settings: ServingSettings, log: Log | None = None) -> Telemetry:
        """The telemetry that the settings ask for; samples are taken where there is a lake."""
        sampler = None
        if settings.lake and settings.sample_share > 0:
            rotation = Rotation(age=settings.sample_seconds)
            lake = open_store(
                settings.lake, endpoint=settings.s3_endpoint, failure=FetchError, patience=PATIENCE_SECONDS
            )
            sampler = Sampler(lake, settings.sample_share, settings.sample_rows_per_second, rotation)
        collector = (
            tracing.Destination(settings.otlp_endpoint, settings.trace_share) if settings.otlp_endpoint else None
        )
        return cls(settings.state / FOLDER, sampler, log, collector)

    # What the hot path reports

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the path's template, never the path itself."""
        cells = self._seconds[route, method, status]
        cells[bisect_left(SECONDS, seconds)] += 1
        cells[-1] += seconds

    def predicted(
        self,
        version: str,
        body: bytes | Callable[[], bytes],
        found: NDArray[np.float64],
        request_id: str = "",
        use_case: str = "",
        *,
        kind: AnswerKind,
    ) -> None:
        """A version answered a request with this JSON body, `{"rows": […]}`; some are kept as samples.

        A body that has to be made first is made for those only.
        """
        self._pending.append(((use_case, version), found, kind))
        if self._sampler is not None:
            self._sampler.offer(use_case, version, request_id, body, found, kind=kind)
        if len(self._pending) >= PENDING:
            self._sort_in()

    def in_flight(self, step: int) -> None:
        """A request began (+1) or ended (-1)."""
        self._answering[0] += step

    def queue(self, length: int) -> None:
        """This many requests wait now."""
        self._waiting[0] = length

    # What else is reported

    def shed(self, reason: Shed) -> None:
        """A request was turned away."""
        self._shed[(reason,)][0] += 1

    def rate_limited(self) -> None:
        """A caller exceeded its rate."""
        self._limited[()][0] += 1

    def cache(self, name: str, outcome: CacheLookup, entries: int | None = None) -> None:
        """A cache was asked; `entries` is what it holds now."""
        self._lookups[name, outcome][0] += 1
        if entries is not None:
            self._entries[(name,)][0] = entries

    def loading(self, name: str, under_way: int) -> None:
        """This many loads of this cache are under way."""
        self._loading[(name,)][0] = under_way

    def loaded(self, name: str, outcome: UpstreamOutcome) -> None:
        """Asking for an answer ended."""
        self._loaded[name, outcome][0] += 1

    def hedged(self, name: str) -> None:
        """An upstream was asked a second time because it was slow or failed."""
        self._hedges[(name,)][0] += 1

    def upstream(self, name: str, outcome: UpstreamOutcome, seconds: float) -> None:
        """A call to an upstream ended."""
        self._upstream.observe((name, outcome), seconds)

    def upstream_open(self, name: str, is_open: bool) -> None:
        """An upstream is not asked for now (its circuit is open), or is again."""
        self._open[(name,)][0] = float(is_open)

    def watch_models(
        self, models: Callable[[], Iterable[ModelState]], releases: Callable[[], Iterable[ReleaseState]] = tuple
    ) -> None:
        """Set the sources of what is in service and how it is followed, asked for each page."""
        self._models = models
        self._releases = releases

    # Its life

    async def start(self) -> None:
        """Begin to keep samples, to send spans, and to show this process's counts to the others."""
        if self._collector is not None:
            tracing.start(self._collector)
        if self._sampler is not None:
            self._sampler.start()
        self._thread = threading.Thread(target=self._publish_often, name="telemetry", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Send the last spans and samples, each within a deadline, and leave the last counts behind."""
        await asyncio.to_thread(tracing.stop)
        if self._sampler is not None:
            await asyncio.to_thread(self._sampler.stop)
        self._ended.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._gather()
        self.tally.publish()

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics of all processes, and their content type, as the `Accept` header wants them."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """All metrics, added up over the processes."""
        self._gather()
        for metric in self.tally.collect():
            yield metric
            if metric.name == self._seconds.name:
                yield _requests(metric)
        yield from self._model_metrics()

    def _model_metrics(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "serving_model_info", "Versions in service.", labels=("version", "use_case", "sha256", "role")
        )
        labels = ("use_case", "version", "role")
        share = GaugeMetricFamily("serving_model_share", "Share of traffic, 0 to 1.", labels=labels)
        for model in self._models():
            info.add_metric((model.version, model.use_case, model.sha256, model.role), 1)
            share.add_metric((model.use_case, model.version, model.role), model.share)
        yield info
        yield share
        entry = GaugeMetricFamily("serving_release_entry", "Newest entry read of the releases.", labels=("use_case",))
        age = GaugeMetricFamily(
            "serving_release_age_seconds", "Time since the releases were in reach.", labels=("use_case",)
        )
        failed = GaugeMetricFamily(
            "serving_release_failed", "Whether a model of them cannot be loaded.", labels=("use_case",)
        )
        for release in self._releases():
            entry.add_metric((release.use_case,), release.entry)
            age.add_metric((release.use_case,), math.inf if release.age is None else release.age)
            failed.add_metric((release.use_case,), float(release.failed))
        yield entry
        yield age
        yield failed

    def _publish_often(self) -> None:
        while not self._ended.wait(PUBLISH_SECONDS):
            self._gather()
            self.tally.publish()

    def _gather(self) -> None:
        """Bring in what is counted elsewhere."""
        self._sort_in()
        self._rss[()] = [float(_resident_bytes())]
        if self._log is not None:
            self._lost_lines[()] = [float(self._log.dropped)]
        if self._sampler is not None:
            self._samples[(Fate.WRITTEN,)] = [float(self._sampler.written)]
            self._samples[(Fate.DROPPED,)] = [float(self._sampler.dropped)]
            self._unsampled[()] = [float(self._sampler.skipped)]

    def _sort_in(self) -> None:
        """Put the answers that wait into their version's buckets, all at once."""
        with self._sorting:
            waiting = [self._pending.popleft() for _ in range(len(self._pending))]
            by_version: dict[tuple[str, str], tuple[AnswerKind, list[Found]]] = {}
            for version, found, kind in waiting:
                by_version.setdefault(version, (kind, []))[1].append(found)
            for version, (kind, parts) in by_version.items():
                _add_to_buckets(self._predictions[version], kind.levels(np.concatenate(parts)))
            while len(self._predictions) > VERSIONS:
                del self._predictions[next(iter(self._predictions))]


def route(telemetry: Telemetry) -> Route:
    """`GET /metrics`, in the text format or OpenMetrics."""

    async def metrics(request: Request) -> Response:
        content, content_type = await asyncio.to_thread(telemetry.page, request.headers.get("accept", ""))
        return Response(content, media_type=None, headers={"Content-Type": content_type})

    return Route("/metrics", metrics, methods=["GET"], include_in_schema=False)


def _counter(name: str, about: str, *labels: str) -> Family:
    return Family(name, about, MetricKind.COUNTER, labels)


def _gauge(name: str, about: str, *labels: str) -> Family:
    return Family(name, about, MetricKind.GAUGE, labels)


def _add_to_buckets(cells: list[float], values: NDArray[np.float64]) -> None:
    counts = np.bincount(np.searchsorted(LEVELS, values), minlength=len(LEVELS) + 1)
    cells[:] = [before + float(more) for before, more in zip(cells, (*counts, values.sum()), strict=True)]


def _requests(seconds: Metric) -> Metric:
    """The number of requests, under the name that one looks for."""
    requests = CounterMetricFamily("serving_requests", "Requests answered.", labels=("route", "method", "status"))
    for sample in seconds.samples:
        if sample.name.endswith("_count"):
            requests.add_metric(list(sample.labels.values()), sample.value)
    return requests


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
