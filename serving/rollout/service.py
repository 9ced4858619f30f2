"""The model in service: at most one, remembered across restarts, replaced only by one that works."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import uniform
from threading import Event as Flag
from threading import RLock, Thread
from time import monotonic, perf_counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from formats.portable_model import Found, ModelError, ServingError
from formats.request_rows import RequestModel, RowError
from formats.rollout_plan import Phase, Plan
from serving.errors import BehindError, EndedError, NotReadyError, OtherUseCaseError, StateError, UnderWayError
from serving.model_file import fetch
from serving.processes.roster import Member
from serving.rollout.conductor import Conductor
from serving.rollout.deployments import DeploymentEvent, DeploymentRecord, History
from serving.rollout.recent import Recent
from serving.rollout.rollout import InService, Rollout, without_addresses
from serving.rollout.served import Served
from serving.rollout.shared_traffic import SharedTraffic
from serving.rollout.state import CURRENT, StateFolder, WorkerReport
from serving.rollout.trial import Trial, comparable
from serving.settings import ServingSettings
from serving.telemetry import tracing
from serving.telemetry.metrics import ModelState, VersionRole

WATCH_SECONDS = 0.2
"""How soon a worker follows a change by another one."""
WORK_SECONDS = 0.002
"""How long a shadow works at a stretch; it rests nine times as long, so requests lose a tenth of a core at most."""
RETRY_SECONDS = 0.5
"""How soon a worker tries again to load what it could not load; the pause doubles each time, up to the next one."""
LONGEST_RETRY_SECONDS = 30.0
STOP_SECONDS = 1.0
"""How long a thread may take to end; they are daemons, so none keeps the process."""
MAX_SAMPLES = 1000
SAMPLES_AT_ONCE = 20

log = logging.getLogger("serving")


class DeploymentRequest(BaseModel):
    """A request to put this model file, under this version's name, into service.

    With a `rollout` it goes through shadow and canary first, unless nothing is served yet; `rows` are then scored
    if there are no recent requests. Without one it serves immediately. `by` says who requested it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_uri: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    version: str = Field(min_length=1)
    use_case: str = Field(min_length=1)
    by: str = Field(default="", max_length=300)
    rollout: Plan | None = None
    rows: tuple[dict[str, float | str | None], ...] = Field(default=(), max_length=MAX_SAMPLES)


class Service:
    """Holds the model in service and the one on trial; swaps are one assignment, after everything that can fail.

    All workers of a server have one each and follow the same state folder: `refresh` takes over what changed there.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self.folder = StateFolder(settings.state, settings.acknowledge_seconds)
        self.history = History(self.folder)
        self._member = Member(settings.state)
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = RLock()
        self._served: Served | None = None
        self._trial: Trial | None = None
        self._prepared: Served | None = None
        self._active: Rollout | None = None
        self._loaded_late: Served | None = None
        self._why_not = "nothing was deployed yet"
        self._behind = False
        self._stamp: tuple[int, ...] | None = None
        self._report = WorkerReport(self.worker, -1)
        self._told = True
        self._recent = Recent()
        self._samples: deque[Sequence[Mapping[str, Any]]] = deque()
        self._leads: SharedTraffic | None = None
        self._drives = ""
        self._stopping = Flag()
        self._threads: list[Thread] = []

    # Requests

    @property
    def served(self) -> Served:
        """What is in service; `NotReadyError` that says why nothing is."""
        if self._served is None:
            raise NotReadyError(f"no model is served: {self._why_not}")
        return self._served

    @property
    def in_service(self) -> InService:
        """What this server serves, as far as this worker knows: other workers may hold what it could not load."""
        entry = self._current() if self._behind else None
        return entry if entry is not None and self.folder.others_serve() else self.served.entry

    def pick(self, key: str | bytes) -> Served:
        """The model for a request with that key: one key stays on one side of a split; `NotReadyError` if none."""
        trial = self._trial
        return trial.served if trial is not None and trial.takes(key) else self.served

    def observed(self, served: Served, found: Found | None, seconds: float, asked: bytes = b"") -> None:
        """Note how `served` answered a request (`found` is None: it failed); cheap, never raises.

        `asked` is the JSON body `{"rows": […]}` of a request that was answered: a shadow scores some of them again.
        """
        if asked:
            self._recent.put(asked)
        if self._trial is not None:
            self._trial.note(served, found, seconds)

    def answer(
        self, key: str | bytes, ask: Callable[[RequestModel], Found], asked: bytes = b""
    ) -> tuple[Served, Found]:
        """The result of `ask` with the model picked for `key`, and that model; observed and timed.

        When a version on trial fails, the proven one is asked instead, and the caller notices nothing.
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
                self.observed(served, None, perf_counter() - started)
                if served.instead is None:
                    raise
                served = served.instead
            else:
                self.observed(served, answers, perf_counter() - started, asked)
                return served, answers

    def states(self) -> list[ModelState]:
        """What is in service and what is on trial, for the metrics."""
        served, trial = self._served, self._trial
        share = trial.rollout.share if trial else 0.0
        states = [_state(served.entry, VersionRole.IN_SERVICE, 1 - share)] if served else []
        return states + ([_state(trial.rollout.entry, VersionRole.ON_TRIAL, share)] if trial else [])

    # Life

    async def start(self) -> None:
        """Serve the last served version again, and follow the state folder from now on."""
        await asyncio.to_thread(self.restore)
        self._run(self._follow, "state")
        self._run(self._keep_up, "keep up")

    async def stop(self) -> None:
        """Stop following; a rollout that this worker drives ends here."""
        leads = self._leads
        self._stopping.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, STOP_SECONDS)
        if leads is not None:
            self._abort(leads, "its worker was stopped")
        self.folder.forget()
        self._member.leave()

    def restore(self) -> None:
        """Serve the version in `current.json` again; on failure stay unready, give the reason, and retry later."""
        # Enlisted before it reads what is served: then no change of it can be missed.
        for step in (self._member.join, self.folder.forget, self.refresh, self._recover):
            try:
                step()
            except (OSError, StateError) as error:  # a full disk costs no answers
                log.error("%s cannot be written (%s); this worker serves all the same", self.folder.path, error)  # noqa: TRY400
        if self._served is None:
            log.warning("not ready: %s", self._why_not)

    def catch_up(self) -> bool:
        """Whether this worker serves what the state folder says; if it could not before, it is tried once more."""
        if not self._behind:
            return True
        entry = self._current()
        try:
            # Not under the lock: a store that hangs holds up neither a request nor a deployment.
            loaded = None if entry is None else Served(entry, self._load(entry))
        except ServingError as error:
            log.warning("version %s cannot be loaded: %s; tried again soon", entry.version if entry else "?", error)
            self._why_not = _cannot_load(entry, error)
            return False
        with self._lock:
            self._loaded_late, self._stamp = loaded, None
            self.refresh()
            self._loaded_late = None
        return not self._behind

    def refresh(self) -> None:
        """Apply the state folder, if it changed, and acknowledge it."""
        with self._lock:
            stamp = self.folder.stamp()
            if stamp != self._stamp:
                change = self.folder.change()
                error = self._take_over(change.rollout)
                self._stamp = stamp
                self._report = WorkerReport(self.worker, change.serial, error)
                self._told = False
            if not self._told:
                self.folder.report(self._report)
                self._told = True

    # Deployments

    def deploy(self, wish: DeploymentRequest, by: str = "") -> InService | Rollout:
        """Put a model into service, or begin its rollout; on any error the old version stays in service.

        Without a plan: the version then in service. With a plan, and a version to compare with: the rollout. While one
        is running, another is refused (`UnderWayError`), the same one joins it, and one without a plan ends it.
        """
        with self.folder.locked("deploy"):
            self.refresh()
            self._recover()
            before, active = self._current(), self._under_way()
            _check_use_case(before, wish)
            entry = InService(
                version=wish.version,
                sha256=wish.sha256.lower(),
                uri=wish.model_uri,
                use_case=wish.use_case,
                since=datetime.now(UTC),
                by=wish.by or by,
            )
            if wish.rollout is not None and active is not None:
                return _joined(active, entry)
            compares = self._can_compare(wish)
            if compares and before is not None and before.same_file(entry):
                self._interrupt(active, f"version {before.version} was put into service at once")
                return before
            model = self._load(entry)
            self._refuse_other_task(model)
            entry = entry.model_copy(update={"trained_through": model.description.trained_through})
            self._interrupt(active, f"version {wish.version} was put into service at once")
            plan = wish.rollout if compares else None
            rollout = self._rollout(entry, before, plan)
            traffic = self._begin(rollout, model)
            if plan is None:
                try:
                    traffic.promote({})
                finally:
                    self._drives = ""
                log.info("in service: version %s of %s (%s)", entry.version, entry.use_case, entry.uri)
                return self.served.entry
            self._samples = deque(_in_bites(wish.rows))
            alike = comparable(self.served.model, model)
            self._lead(Conductor(plan, traffic, comparable=alike, pause=self._pause), traffic)
            return rollout

    def withdraw(self, by: str = "") -> None:
        """Serve nothing from now on, even after restarts."""
        with self.folder.locked("deploy"):
            self._interrupt(self._under_way(), "what is in service was withdrawn")
            with self.folder.locked():
                before = self._current()
                self.folder.serve(None)
                serial = self.folder.write(self.folder.change().rollout)
                if before is not None:
                    self.history.add(DeploymentRecord.of(before, DeploymentEvent.WITHDRAWN, datetime.now(UTC), by=by))
            self.refresh()
            self.folder.wait(serial)
            log.info("withdrawn: nothing is in service")

    def _can_compare(self, wish: DeploymentRequest) -> bool:
        """Whether this worker holds what a rollout is compared with; `BehindError` when only another worker does."""
        if self.catch_up():
            return self._served is not None
        if wish.rollout is not None and self.folder.others_serve():
            raise BehindError(f"this worker does not serve yet what the others do ({self._why_not}); ask again")
        return False

    def _refuse_other_task(self, model: RequestModel) -> None:
        """Callers of a version expect its task's answers, and no two versions of two tasks can be compared."""
        if self._served is None or self._served.model.description.task == model.description.task:
            return
        raise ModelError(
            f"model file {model.name} is of task {model.description.task}, and version {self._served.entry.version} in "
            f"service of task {self._served.model.description.task}; withdraw that first (DELETE /admin/deployments)"
        )

    def _rollout(self, entry: InService, before: InService | None, plan: Plan | None) -> Rollout:
        now = datetime.now(UTC)
        return Rollout(
            id=uuid.uuid4().hex,
            worker=self.worker,
            entry=entry,
            instead_of=before.version if before else None,
            plan=plan,
            began=now,
            changed=now,
        )

    def _begin(self, rollout: Rollout, model: RequestModel) -> SharedTraffic:
        """Have every worker load a version; what is served does not change yet."""
        traffic = SharedTraffic(self.folder, self.history, rollout, self.refresh)
        self._prepared = Served(rollout.entry, model)
        self._drives = rollout.id
        try:
            with self.folder.locked():
                serial = self.folder.write(rollout)
            traffic.settle(serial)
        except Exception as error:
            self._drives = ""
            self._abort(traffic, str(error) if isinstance(error, ServingError) else type(error).__name__)
            raise
        return traffic

    def _lead(self, conductor: Conductor, traffic: SharedTraffic) -> None:
        def lead() -> None:
            try:
                conductor.run()
            except EndedError:
                return
            except Exception as error:
                log.exception("a rollout broke")
                self._abort(traffic, f"it broke ({type(error).__name__}); the server's log has more")
            finally:
                self._leads, self._drives = None, ""

        self._leads = traffic
        self._run(lead, "rollout")

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise EndedError("the server stops")

    def _interrupt(self, active: Rollout | None, reason: str) -> None:
        if active is not None:
            self._abort(SharedTraffic(self.folder, self.history, active, self.refresh), reason)

    def _abort(self, traffic: SharedTraffic, reason: str) -> None:
        try:
            traffic.abort(reason)
        except EndedError:
            return
        except StateError as error:  # `_recover` does it as soon as that folder can be written again
            log.error("a rollout cannot be ended now: %s", error)  # noqa: TRY400

    def _under_way(self) -> Rollout | None:
        rollout = self.folder.change().rollout
        return rollout if rollout is not None and rollout.under_way else None

    def _current(self) -> InService | None:
        try:
            return self.folder.current()
        except (OSError, ValidationError):
            return None

    def _recover(self) -> None:
        """End a rollout that no worker drives any more: its figures are lost, so the proven version stays.

        It is not resumed, because a version is promoted on evidence only; the caller asks again.
        """
        rollout = self._under_way()
        if rollout is None or self._driven(rollout):
            return
        traffic = SharedTraffic(self.folder, self.history, rollout, self.refresh)
        if rollout.entry.same_file(self._current()):
            traffic.promote(rollout.metrics, "its worker ended just after it was put into service")
        else:
            self._abort(traffic, "its worker ended in mid-rollout; deploy it again")

    def _driven(self, rollout: Rollout) -> bool:
        if rollout.worker == self.worker:
            return rollout.id == self._drives
        return self.folder.alive(rollout.worker)

    # Following the state folder

    def _take_over(self, rollout: Rollout | None) -> str:
        """Serve and try the versions in the state folder; the error, empty if there is none."""
        self._active = active = rollout if rollout is not None and rollout.under_way else None
        failed = self._serve()
        if active is None:
            self._trial = self._prepared = None
            self._samples = deque()
            return failed
        return self._try(active)

    def _serve(self) -> str:
        self._behind = True
        try:
            entry = self.folder.current()
        except (OSError, ValidationError) as error:
            self._why_not = f"{self.folder.path / CURRENT} cannot be read ({type(error).__name__}); deploy again"
            return self._why_not
        if entry is None:
            if self._served is not None or self._stamp is not None:
                self._why_not = "the last model was withdrawn"
            self._served = None
        elif self._served is None or entry != self._served.entry:
            try:
                self._served = Served(entry, self._model(entry))
            except ServingError as error:
                self._why_not = _cannot_load(entry, error)
                log.warning("version %s cannot be loaded: %s; tried again soon", entry.version, error)
                return self._why_not
        self._behind = False
        return ""

    def _try(self, rollout: Rollout) -> str:
        try:
            model = self._model(rollout.entry)
        except ServingError as error:
            self._trial = None
            return str(error)
        self._prepared = Served(rollout.entry, model)
        if self._served is None or rollout.entry.same_file(self._served.entry):
            self._trial = None
        elif self._trial is None or self._trial.rollout.id != rollout.id or self._trial.proven is not self._served:
            self._trial = Trial(rollout, self._served, model)
        else:
            self._trial.enter(rollout)
        return ""

    def _model(self, entry: InService) -> RequestModel:
        for known in (self._served, self._prepared, self._loaded_late):
            if known is not None and known.entry.same_file(entry):
                return known.model
        return self._load(entry)

    def _load(self, entry: InService) -> RequestModel:
        content = fetch(entry.uri, s3_endpoint=self.settings.s3_endpoint, limit=self.settings.model_bytes)
        # Named by its version: later errors may be shown to callers who must not see its address.
        name = f"of version {entry.version}"
        model = RequestModel.load(content, sha256=entry.sha256, name=name)
        if model.description.use_case != entry.use_case:
            raise ModelError(f"model file {name} is of use case {model.description.use_case!r}, not {entry.use_case!r}")
        model.self_test()
        return model

    def _run(self, work: Callable[[], None], name: str) -> None:
        thread = Thread(target=work, name=name, daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()

    def _follow(self) -> None:
        rest = told = 0.0
        wrong = ""
        while not self._stopping.wait(rest):
            started = monotonic()
            try:
                self.refresh()
                trial = self._trial
                worked = self._shadow(trial) if trial is not None else 0.0
                if self._active is not None and started - told >= WATCH_SECONDS / 2:
                    self._tell(trial)
                    self._recover()
                    told = started
                if self._member.join():  # it could not before, so what changed meanwhile may have been missed
                    self._stamp = None
                wrong = ""
            except Exception as error:
                worked, trial = 0.0, None
                if wrong != (wrong := repr(error)):  # once, and not five times a second
                    log.exception("the state folder cannot be followed")
            rest = WATCH_SECONDS if trial is None else max(9 * worked, 0.01)

    def _keep_up(self) -> None:
        """Retry what could not be applied, each time after a longer pause."""
        pause = RETRY_SECONDS
        while not self._stopping.wait(pause * uniform(0.5, 1)):  # noqa: S311 (workers that failed together do not retry together)
            if not self._behind:
                pause = RETRY_SECONDS
                continue
            try:
                done = self.catch_up()
            except Exception:
                log.exception("what is in service cannot be taken over")
                done = False
            if done and self._served is not None:
                log.info("in service: version %s, at last", self._served.entry.version)
            elif not done:
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    def _tell(self, trial: Trial | None) -> None:
        """Publish the figures of a version on trial."""
        with self._lock:
            if trial is not None and trial is self._trial:
                trial.tally.waiting = self._waiting(trial)
                self._report.phase, self._report.tally = trial.phase, trial.tally
                self.folder.report(self._report)

    def _shadow(self, trial: Trial) -> float:
        """Compare both versions on a few rows; for how many seconds that was."""
        started = perf_counter()
        samples = self._samples
        while self._waiting(trial) and perf_counter() - started < WORK_SECONDS:
            body = self._recent.take() if trial.comparable else None
            if body is not None:
                trial.compare_body(body)
            elif samples:
                trial.compare_rows(samples.popleft())
            else:
                break
        return perf_counter() - started

    def _waiting(self, trial: Trial) -> int:
        """How many requests and bites of samples are to be compared in this phase."""
        if not trial.wants_rows():
            return 0
        samples = len(self._samples) if trial.rollout.phase is Phase.SHADOW else 0
        return samples + (len(self._recent) if trial.comparable else 0)


def _cannot_load(entry: InService | None, error: ServingError) -> str:
    """Why not, without the file's address, because everybody may see this."""
    if entry is None:
        return str(error)
    return f"version {entry.version} cannot be loaded again: {without_addresses(str(error), entry.uri)}"


def _check_use_case(before: InService | None, wish: DeploymentRequest) -> None:
    if before is not None and before.use_case != wish.use_case:
        raise OtherUseCaseError(
            f"this server serves use case {before.use_case!r}; start another for {wish.use_case!r} "
            "(SERVING_PORT, SERVING_STATE)"
        )


def _joined(active: Rollout, entry: InService) -> Rollout:
    """The rollout under way, if it is of that very version."""
    if active.plan is not None and active.entry.same_file(entry):
        return active
    raise UnderWayError(
        f"a rollout of version {active.entry.version} is under way ({active.phase}); wait for its end "
        "(GET /v1/deployments/current), or deploy without a rollout, which ends it"
    )


def _in_bites(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for first in range(0, len(rows), SAMPLES_AT_ONCE):
        yield rows[first : first + SAMPLES_AT_ONCE]


def _state(entry: InService, role: VersionRole, share: float) -> ModelState:
    return ModelState(entry.version, entry.use_case, entry.sha256, role, share)
