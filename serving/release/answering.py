"""What one use case's requests are answered with: the model in service, or the one on trial."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from formats.portable_model import Found
from formats.request_rows import RequestModel, RowError
from serving.errors import NotReadyError
from serving.release.recent import Recent
from serving.release.served import Served
from serving.release.trial import Trial
from serving.telemetry import tracing
from serving.telemetry.metrics import ModelState, VersionRole


class Answering:
    """Holds the models of one use case; its follower swaps them, each by one assignment.

    `why_not` says why nothing is in service.
    """

    def __init__(self, use_case: str) -> None:
        self.use_case = use_case
        self.in_service: Served | None = None
        self.trial: Trial | None = None
        self.why_not = "nothing was deployed yet"
        self.recent = Recent()

    @property
    def served(self) -> Served:
        """What is in service; `NotReadyError` that says why nothing is."""
        if self.in_service is None:
            raise NotReadyError(f"no model is served: {self.why_not}")
        return self.in_service

    def pick(self, key: str | bytes) -> Served:
        """The model for a request with that key: one key stays on one side of a split; `NotReadyError` if none."""
        trial = self.trial
        return trial.served if trial is not None and trial.takes(key) else self.served

    def answer(
        self, key: str | bytes, ask: Callable[[RequestModel], Found], asked: bytes = b""
    ) -> tuple[Served, Found]:
        """The result of `ask` with the model picked for `key`, and that model; observed and timed.

        `asked` is the JSON body `{"rows": […]}`: a shadow scores some of them again. When a version on trial fails,
        the proven one is asked instead, and the caller notices nothing.
        """
        served = self.pick(key)
        while True:
            started = perf_counter()
            try:
                with tracing.span("model", version=served.entry.version):
                    answers = ask(served.model)
            except RowError:  # the caller's mistake, not the version's
                raise
            except Exception:
                self._note(served, None, perf_counter() - started)
                if served.instead is None:
                    raise
                served = served.instead
            else:
                self._note(served, answers, perf_counter() - started)
                if asked:
                    self.recent.put(asked)
                return served, answers

    def states(self) -> list[ModelState]:
        """What is in service and what is on trial, for the metrics."""
        served, trial = self.in_service, self.trial
        share = trial.on_trial.share if trial else 0.0
        states = [_state(served, VersionRole.IN_SERVICE, 1 - share)] if served else []
        return states + ([_state(trial.served, VersionRole.ON_TRIAL, share)] if trial else [])

    def _note(self, served: Served, found: Found | None, seconds: float) -> None:
        if self.trial is not None:
            self.trial.note(served, found, seconds)


def _state(served: Served, role: VersionRole, share: float) -> ModelState:
    entry = served.entry
    return ModelState(entry.version, entry.use_case, entry.sha256, role, share)
