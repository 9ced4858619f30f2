"""deploy: put the champion into service, after a rollout beside the served version.

A run for older days than the served model has seen changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from typing import Any

from formats.release import InService, ReleaseEvent
from formats.rollout_plan import Plan
from include.deployment.conductor import Candidate, Outcome, RejectedError
from include.deployment.registry import tell_registry
from include.deployment.release import open_conductor, released_model
from include.deployment.sampled_rows import sampled_rows
from include.deployment.writer import ReleaseWriter, Tail
from include.errors import DataError
from include.model_registry.versions import Registry, Version
from include.step import Context, Result, StepArguments, main

LEFT = {
    ReleaseEvent.ROLLED_BACK: "rolled back",
    ReleaseEvent.REJECTED: "rejected",
    ReleaseEvent.RESTORED: "failed",
}
"""How a version left service for good, in words."""

log = logging.getLogger("nightshift")


class DeployArguments(StepArguments):
    """Command-line arguments of deploy; `force` has no effect: a backfill never replaces what is served."""


def deploy(context: Context, arguments: DeployArguments) -> Result:
    """Roll the champion out if it is not in service yet, and wait for the end.

    What is served stays when there is no champion, when it serves already, when it was rolled back, rejected or failed
    its smoke test, or when the run's day is older than what the served model has seen. A champion that a person chose
    in MLflow is tried even so: the log and the result say who. Raises `DataError` when a replica refuses the model
    file, `RejectedError` when it breaks a limit of the rollout, `FaultError` when lake or registry do not answer, or
    another release is under way or came in between.
    """
    return _Deployment(context, ReleaseWriter.open(context.settings, context.use_case.name), arguments.date).run()


@dataclass(frozen=True)
class _Deployment:
    context: Context
    writer: ReleaseWriter
    day: date

    def run(self) -> Result:
        # What decides is read after the tail: if another writer appends meanwhile, the next entry is not ours.
        tail = self.writer.tail()
        served = tail.release.serving
        if served and served.trained_through and self.day < served.trained_through:
            return self._stays(tail, f"the run of {self.day} is a backfill; what is served has seen later days")
        registry = Registry.open(self.context.settings, self.context.use_case.name)
        version, chosen = registry.champion(), registry.hand_picked()
        if version is None:
            return self._stays(tail, "no version was promoted yet")
        if chosen is not None:
            registry.readmit(chosen)
        if chosen is None and (how := self._taken_out(tail, version.version)):
            return self._stays(tail, f"champion version {version.version} was taken out of service ({how})")
        champion = self._entry(version)
        if champion.same_file(served):
            return self._stays(tail, "the champion serves already")
        return self._release(tail, champion, _by_hand(chosen))

    def _release(self, tail: Tail, champion: InService, told: str) -> Result:
        served = tail.release.serving
        stays = _what_stays(served)
        try:
            outcome = self._conduct(tail, champion, told)
        except RejectedError as error:
            done = tell_registry(
                self.context.settings,
                self.writer.log.use_case,
                out=champion.version,
                back=served.version if served else None,
                reason=str(error),
            )
            raise RejectedError(
                f"version {champion.version} is rolled back, {stays}: {error} (registry: {done}); "
                "if it is meant to be so, widen the limits of ROLLOUT in the use case's gates.py"
            ) from None
        except DataError as error:
            raise DataError(f"version {champion.version} is not deployed, {stays}: {error}") from None
        log.info("deploy: version %s is in service%s", champion.version, f", {told}" if told else "")
        return Result(
            uris={"model": champion.uri},
            facts={"deployed": True, "version": champion.version, "before": served.version if served else None}
            | _settled(outcome)
            | ({"why": told} if told else {})
            | ({"rollout": dict(outcome.metrics)} if outcome.metrics else {})
            | ({"remark": outcome.remark} if outcome.remark else {}),
        )

    def _conduct(self, tail: Tail, champion: InService, told: str) -> Outcome:
        conductor = open_conductor(self.context.settings, self.writer)
        conductor.require_quiet(tail, champion)
        model = released_model(self.context.lake, champion)
        served = tail.release.serving
        if served is None:
            return conductor.serve(tail, champion, ReleaseEvent.DEPLOYED, why=told)
        proven = released_model(self.context.lake, served)
        if proven.description.task != model.description.task:
            raise DataError(
                f"it is of task {model.description.task}, and version {served.version} in service of task "
                f"{proven.description.task}; give the use case of another task another name"
            )
        plan = _plan(self.context)
        rows = sampled_rows(self.context, [model, proven], self.day, plan.shadow_rows)
        return conductor.try_out(tail, champion, Candidate(model, proven, plan, rows), why=told)

    def _entry(self, version: Version) -> InService:
        return InService(
            version=version.version,
            sha256=version.sha256.lower(),
            uri=version.model_uri,
            use_case=self.writer.log.use_case,
            since=self.writer.now(),
            trained_through=version.trained_through,
            by=self.writer.actor,
        )

    def _taken_out(self, tail: Tail, version: str) -> str:
        """How the champion left service for good, or empty; also updates the registry, which may not know."""
        gone = tail.release.left(version)
        if gone is None:
            return ""
        back = tail.release.serving
        tell_registry(
            self.context.settings,
            self.writer.log.use_case,
            out=version,
            back=back.version if back else None,
            reason=gone.why or LEFT[gone.event],
        )
        return LEFT[gone.event]

    def _stays(self, tail: Tail, why: str) -> Result:
        served = tail.release.serving
        log.info("deploy: %s; %s", why, _what_stays(served))
        return Result(
            uris={"model": served.uri} if served else {},
            facts={"deployed": False, "version": served.version if served else None, "why": why},
        )


def _what_stays(served: InService | None) -> str:
    return f"version {served.version} stays in service" if served else "nothing is in service"


def _settled(outcome: Outcome) -> dict[str, Any]:
    silent = outcome.settled.silent
    return {"replicas": outcome.settled.ready} | ({"silent_replicas": list(silent)} if silent else {})


def _by_hand(chosen: Version | None) -> str:
    """Who made a version champion, if a person did: MLflow notes no name, so a person may write it on the version."""
    return "" if chosen is None else f"champion by hand in MLflow ({chosen.promoted_by or 'no name in promoted_by'})"


def _plan(context: Context) -> Plan:
    """The use case's plan (`ROLLOUT` in its gates.py), with the overrides of the deployment's settings."""
    plan: Plan = getattr(context.use_case.part("gates"), "ROLLOUT", Plan())
    told = {"share": context.settings.rollout_share, "watch_seconds": context.settings.rollout_watch_seconds}
    return plan.model_copy(update={name: value for name, value in told.items() if value is not None})


if __name__ == "__main__":
    main(DeployArguments, deploy)
