"""A version on trial in this process: which requests it answers, and its figures."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from random import random
from threading import Lock
from time import monotonic

from formats.comparison import PhaseTally, comparable, compared
from formats.portable_model import Found
from formats.release import OnTrial
from formats.request_rows import RequestModel
from serving.release.served import Served


class Trial:
    """The version on trial beside the proven one; counts begin again with each phase.

    It ends by itself at `until`, whatever its follower does: a replica that hears nothing of its conductor leaves it.
    """

    def __init__(
        self, on_trial: OnTrial, proven: Served, model: RequestModel, clock: Callable[[], float] = monotonic
    ) -> None:
        self.served = Served(on_trial.entry, model, instead=proven)
        self.proven = proven
        self.on_trial = on_trial
        self.tally = PhaseTally()
        self.comparable = comparable(proven.model, model)
        self.until = 0.0
        self._clock = clock
        self._lock = Lock()
        self._turn = False

    def enter(self, on_trial: OnTrial) -> None:
        """Go on to the trial's present phase."""
        if on_trial.name != self.on_trial.name:
            self.tally = PhaseTally()
        self.on_trial = on_trial

    def takes(self, key: str | bytes) -> bool:
        """Whether a request of that key is answered by the version on trial; of requests without one, any may be."""
        share = self.on_trial.share
        if not share or self._clock() >= self.until:
            return False
        return takes_part(key, self.on_trial.id, share) if key else random() < share  # noqa: S311 (no secret)

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
                # By one measure, the proven one's.
                side.note(self.proven.model.kind.measured(found, served.model.kind), seconds)

    def wants_rows(self) -> bool:
        """Whether there is more to compare in this phase; what each process does is bounded."""
        return self.comparable and self.tally.compared.proven.rows < self.on_trial.plan.shadow_rows

    def compare(self, body: bytes) -> None:
        """Let both versions answer a request again."""
        self._turn = not self._turn
        pair = compared(self.proven.model, self.served.model, lambda model: model.answer(body), trial_first=self._turn)
        self.tally.compared.add(pair)


def takes_part(key: str | bytes, salt: str, share: float) -> bool:
    """Whether a caller's requests go to the version on trial: the same answer for one key in one trial, everywhere.

    The salt is the trial's own, so that it is not always the same callers who try the new version.
    """
    raw = key if isinstance(key, bytes) else key.encode()
    digest = blake2b(raw, digest_size=8, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") < share * 2**64
