"""A version on trial in this process: which requests it answers, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import random
from threading import Lock
from time import perf_counter
from typing import Any

from formats.answers.measured import Measured
from formats.portable_model import Found
from formats.request_rows import RequestModel, RowError
from formats.rollout_plan import Phase
from serving.rollout.comparison import Pair, PhaseTally, apart
from serving.rollout.rollout import Rollout
from serving.rollout.served import Served
from serving.rollout.traffic import takes_part


class Trial:
    """The version on trial beside the proven one; counts begin again with each phase.

    `comparable`: whether both take the same inputs, so that a request made for one is one for the other, too.
    """

    def __init__(self, rollout: Rollout, proven: Served, model: RequestModel) -> None:
        self.served = Served(rollout.entry, model, instead=proven)
        self.proven = proven
        self.rollout = rollout
        self.tally = PhaseTally()
        self.comparable = comparable(proven.model, model)
        self._lock = Lock()
        self._turn = 0

    @property
    def phase(self) -> str:
        """Names the phase of the rollout that the counts are of."""
        return phase_name(self.rollout)

    def enter(self, rollout: Rollout) -> None:
        """Go on to the rollout's present phase."""
        self.rollout, self.tally = rollout, PhaseTally()

    def takes(self, key: str | bytes) -> bool:
        """Whether a request of that key is answered by the version on trial; of requests without one, any may be."""
        share = self.rollout.share
        if not share:
            return False
        return takes_part(key, self.rollout.id, share) if key else random() < share  # noqa: S311 (no secret)

    def note(self, served: Served, found: Found | None, seconds: float) -> None:
        """Count a request that one of the versions answered, or failed to answer."""
        if served is self.served:
            side = self.tally.answered.trial
        elif served is self.proven:
            side = self.tally.answered.proven
        else:
            return
        with self._lock:
            if found is None:
                side.fail()
            else:
                side.note(self._measured(served.model, found), seconds)

    def wants_rows(self) -> bool:
        """Whether there is more to compare in this phase; what each process does is bounded."""
        plan = self.rollout.plan
        watched = self.rollout.phase in (Phase.SHADOW, Phase.CANARY)
        return watched and plan is not None and self.tally.compared.proven.rows < plan.shadow_rows

    def compare_body(self, body: bytes) -> None:
        """Let both versions answer a request again; they must be `comparable`."""
        self._compare(lambda model: model.answer(body))

    def compare_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Let both versions answer sample rows; of a row, each takes the fields it knows."""
        self._compare(lambda model: model.rows(rows))

    def _compare(self, ask: Callable[[RequestModel], Found]) -> None:
        pair = Pair()
        # The second one finds the caches warm, so they take turns.
        self._turn ^= 1
        sides = [(self.proven.model, pair.proven), (self.served.model, pair.trial)]
        found: list[Measured] = []
        for model, side in sides[:: -1 if self._turn else 1]:
            started = perf_counter()
            try:
                answers = ask(model)
                seconds = perf_counter() - started
            except RowError:
                return
            except Exception:
                side.fail()
            else:
                found.append(self._measured(model, answers))
                side.note(found[-1], seconds)
        if len(found) == len(sides):
            pair.moved = apart(*found)
        if not pair.proven.failures:
            self.tally.compared.add(pair)

    def _measured(self, model: RequestModel, found: Found) -> Measured:
        """Both versions' answers by one measure, the proven one's."""
        return self.proven.model.kind.measured(found, model.kind)


def phase_name(rollout: Rollout) -> str:
    """A name for one phase of one rollout."""
    return f"{rollout.id}/{rollout.phase}"


def comparable(proven: RequestModel, trial: RequestModel) -> bool:
    """Whether a request made for one model is one for the other, too; categories may differ."""
    before, after = ([(column.name, column.kind) for column in model.inputs] for model in (proven, trial))
    return before == after
