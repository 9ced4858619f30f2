"""Follows the releases of one use case: reads what is new, has it loaded, swaps it in, and reports."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from random import uniform
from time import monotonic, perf_counter, time

import msgspec

from formats.portable_model import ServingError
from formats.release import InService, Release
from formats.release_log import ReleaseLog
from formats.replica_report import Lease, ReplicaReport
from serving.release.answering import Answering
from serving.release.kept import Kept
from serving.release.loader import Loading
from serving.release.served import Served
from serving.release.trial import Trial

BUSY_SECONDS = 1.0
"""How often a replica looks while a release is under way, at least."""
HEARTBEAT_SECONDS = 30.0
"""How often it says that it lives, and makes sure that its entry is still the log's."""
EXPIRED_SECONDS = 600.0
"""The report of a replica that has said nothing for so long is removed."""
WORK_SECONDS = 0.002
"""How long a shadow works at a stretch; it rests nine times as long, so requests lose a tenth of a core at most."""
LOADS_SECONDS = 0.02
"""How soon it takes over what is being loaded."""

log = logging.getLogger("serving")


class Follower:
    """One replica's view of one use case's log. `poll` is how often it looks (s); `now` is the time in its reports."""

    def __init__(
        self,
        releases: ReleaseLog,
        answering: Answering,
        loader: Loading,
        kept: Kept | None,
        *,
        replica: str,
        poll: float,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        self.answering = answering
        self.number = 0
        self.release: Release | None = None
        self.read_at: float | None = None
        """When the log was last in reach, by the clock."""
        self.tried = False
        """Whether it has done what it could to serve: until then this replica is not ready."""
        self._releases = releases
        self._loader = loader
        self._kept = kept
        self._replica = replica
        self._poll = poll
        self._clock = clock
        self._now = now
        self._found = False
        self._trouble = ""
        self._in_reach = False
        self._lease: Lease | None = None
        self._lease_until = 0.0
        self._trial: Trial | None = None
        self._said = b""
        self._said_at = -HEARTBEAT_SECONDS
        self._next_tidy = EXPIRED_SECONDS * uniform(0, 1)  # noqa: S311 (not all at once)
        self._stepping = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {answering.use_case}", daemon=True)

    # Life

    def start(self) -> None:
        """Follow from now on, in a thread."""
        self._thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        """Stop following, and say so; what it saw of a trial stays for the judgement."""
        self._stopping.set()
        self._thread.join(seconds)
        if not self._in_reach:
            return
        try:
            if self._trial is None:
                self._releases.forget(self._replica)
            else:
                self._releases.report(self._report(left=True))
        except Exception as error:
            log.warning("releases: %s", error)

    def step(self) -> float:
        """Look once, and do what is to be done; how many seconds to rest."""
        with self._stepping:
            self._follow()
            self._take_over()
            self._speak()
        busy = self.release is not None and self.release.under_way is not None
        return min(self._poll, BUSY_SECONDS) if busy else self._poll

    def advance(self) -> None:
        """Take over what has been loaded since, without a look at the log."""
        with self._stepping:
            self._take_over()
            self._speak()

    def entry(self, number: int) -> Release | None:
        """An older entry, read from the log."""
        return self._releases.entry(number)

    @property
    def error(self) -> str:
        """What it cannot load of what it should hold."""
        return next((error for entry in self._wanted() if (error := self._loader.error(entry.sha256))), "")

    @property
    def age(self) -> float | None:
        """Seconds since the log was in reach; None if it never was."""
        return None if self.read_at is None else self._clock() - self.read_at

    def _run(self) -> None:
        due, loads = 0.0, False
        while True:
            try:
                if self._clock() >= due:
                    due = self._clock() + self._poll  # if the next line fails
                    due = self._clock() + self.step()
                elif loads:
                    self.advance()
            except Exception:
                log.exception("releases of %s cannot be followed", self.answering.use_case)
            loads = self._loads()
            self.tried = self.tried or not loads
            rest = min(max(due - self._clock(), 0.0), LOADS_SECONDS if loads else self._poll)
            if worked := self._shadow():
                rest = min(rest, max(9 * worked, 0.01))
            if self._stopping.wait(rest):
                return

    def _loads(self) -> bool:
        """Whether something is on its way that is neither there nor known to be wrong."""
        return any(
            self._loader.model(entry.sha256) is None and not self._loader.error(entry.sha256)
            for entry in self._wanted()
        )

    # The log

    def _follow(self) -> None:
        asked = self._clock()
        try:
            if not self._found:
                self._find()
            while (newer := self._releases.entry(self.number + 1)) is not None:
                self._reach(self.number + 1, newer)
            self._watch_lease()
        except ServingError as error:
            self._in_reach = False
            self._away(str(error))
            return
        self.read_at, self._in_reach = asked, True
        if self._trouble:
            log.info("releases of %s are in reach again", self.answering.use_case)
            self._trouble = ""

    def _find(self) -> None:
        """Find the newest entry, from the kept one on if that is of this very log."""
        kept = self._kept.entry() if self._kept and self.release is None else None
        known = kept.number if kept and self._releases.holds(kept.number, kept.release) else 0
        number, release = self._releases.tail(known)
        if release is not None:
            self._reach(number, release)
        elif kept is not None:
            log.warning("releases of %s: the log is empty; what was kept is served", self.answering.use_case)
            self.number, self.release = kept.number, kept.release
        self._found = True

    def _away(self, why: str) -> None:
        if self.release is None and (kept := self._kept.entry() if self._kept else None):
            self.number, self.release = kept.number, kept.release
        if why != self._trouble:
            serves = self.answering.in_service
            log.warning("%s; %s is served on", why, f"version {serves.entry.version}" if serves else "what is kept")
            self._trouble = why
        if self.release is None:
            self.answering.why_not = "the releases cannot be read now"

    def _reach(self, number: int, release: Release) -> None:
        self.number, self.release = number, release
        if self._kept is not None:
            self._kept.note(number, release)
        log.info("releases of %s: entry %d: %s version %s", release.use_case, number, release.event, release.version)

    def _watch_lease(self) -> None:
        """A trial lasts while its lease changes; the first sight of a lease is no change."""
        if self.release is None or self.release.under_way is None:
            self._lease, self._lease_until = None, 0.0
            return
        asked = self._clock()
        lease = self._releases.lease()
        if lease is not None and lease != self._lease:
            if self._lease is not None:
                self._lease_until = asked + lease.seconds
            self._lease = lease

    # What is held

    def _wanted(self) -> Iterator[InService]:
        release = self.release
        if release is not None:
            for entry in (release.serving, release.prepare, release.trial and release.trial.entry):
                if entry:
                    yield entry

    def _take_over(self) -> None:
        release = self.release
        if release is None:
            return
        self._loader.want({entry.sha256: entry for entry in self._wanted()})
        self._serve(release)
        self._try(release)

    def _serve(self, release: Release) -> None:
        answering, entry = self.answering, release.serving
        served = answering.in_service
        if entry is None:
            answering.why_not = "the last model was withdrawn" if release.taken_out else "nothing was deployed yet"
            answering.in_service = None
        elif served is None or served.entry != entry:
            model = self._loader.model(entry.sha256)
            if model is not None:
                answering.in_service = Served(entry, model)
                log.info("in service: version %s of %s", entry.version, entry.use_case)
                return
            answering.why_not = self._loader.error(entry.sha256) or f"version {entry.version} is being loaded"
            if served is not None and release.left(served.entry.version):
                answering.in_service = None

    def _try(self, release: Release) -> None:
        answering, on_trial = self.answering, release.trial
        served = answering.in_service
        model = self._loader.model(on_trial.entry.sha256) if on_trial else None
        lasts = self._lease_until > self._clock()
        if on_trial is None or model is None or served is None or served.entry != release.serving:
            answering.trial = self._trial = None
            return
        trial = self._trial
        if trial is None or trial.on_trial.id != on_trial.id or trial.proven is not served:
            trial = Trial(on_trial, served, model, self._clock)
        trial.enter(on_trial)
        trial.until = self._lease_until
        self._trial = trial
        answering.trial = trial if lasts else None

    # What is said

    def _report(self, *, left: bool = False) -> ReplicaReport:
        answering, release = self.answering, self.release
        trial, serves = self._trial, answering.in_service
        report = ReplicaReport(
            replica=self._replica, at=0.0, every=self._poll, entry=self.number, error=self.error, left=left
        )
        report.serving = serves.entry.sha256 if serves else ""
        report.refused = any(self._loader.refused(entry.sha256) for entry in self._wanted())
        if release is not None and release.prepare and self._loader.model(release.prepare.sha256):
            report.prepared = release.prepare.sha256
        if trial is not None:
            trial.tally.waiting = len(answering.recent) if trial.wants_rows() else 0
            report.on_trial = trial.served.entry.sha256 if answering.trial is trial else ""
            # Counts stay for the judgement, even if this replica has left the trial meanwhile.
            report.phase, report.tally = trial.on_trial.name, trial.tally
        return report

    def _speak(self) -> None:
        """Report what has changed, and now and then that this replica lives; nothing to a store that may hang."""
        if not self._in_reach:
            return
        report, now = self._report(), self._clock()
        said = msgspec.json.encode(report)
        if said == self._said and now - self._said_at < HEARTBEAT_SECONDS:
            return
        report.at = self._now()
        try:
            if said == self._said and self.release and not self._releases.holds(self.number, self.release):
                log.error(
                    "releases of %s: entry %d is another one now; the log is read again",
                    self._releases.use_case,
                    self.number,
                )
                self._found = False
            self._releases.report(report)
            self._said, self._said_at = said, now
            if now >= self._next_tidy:
                self._next_tidy = now + EXPIRED_SECONDS
                self._tidy(report.at)
        except ServingError as error:
            if str(error) != self._trouble:
                log.warning("releases: this replica cannot report: %s", error)
                self._trouble = str(error)

    def _tidy(self, at: float) -> None:
        for report in self._releases.reports():
            if report.at < at - EXPIRED_SECONDS:
                self._releases.forget(report.replica)

    def _shadow(self) -> float:
        """Compare both versions on a few requests; for how many seconds that was, 0 if there is nothing to do."""
        trial, recent = self.answering.trial, self.answering.recent
        started = perf_counter()
        if trial is None or not trial.wants_rows() or self._clock() >= trial.until:
            return 0.0
        while perf_counter() - started < WORK_SECONDS and trial.wants_rows():
            body = recent.take()
            if body is None:
                break
            trial.compare(body)
        return perf_counter() - started
