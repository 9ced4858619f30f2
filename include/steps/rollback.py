"""rollback: put the previously served model, or a named version, back into service."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import StringConstraints

from formats.release import InService, Release, ReleaseEvent
from include.deployment.conductor import Outcome
from include.deployment.registry import tell_registry
from include.deployment.release import open_conductor
from include.deployment.writer import BY_HAND, OvertakenError, ReleaseWriter, Tail
from include.errors import SettingsError
from include.step import Context, Result, StepArguments, main

ATTEMPTS = 5
"""So often it judges again when another release comes in between."""

log = logging.getLogger("nightshift")


class RollbackArguments(StepArguments):
    """Command-line arguments of rollback; an empty `version` means the one that served before the present one."""

    version: Annotated[str, StringConstraints(pattern=r"^[0-9]*$")] = ""


def rollback(context: Context, arguments: RollbackArguments) -> Result:
    """Put the previous version back: the newest other one that served well. It ends a release that is under way.

    The version that leaves is marked as rolled back, so that each further rollback steps back one version, and as
    rejected in the registry, so that no later night deploys it or predicts with it. A retry of the same task instance
    does not step back twice. Neither PostgreSQL nor MLflow is needed. Raises `SettingsError` when there is no version
    to put back.
    """
    writer = ReleaseWriter.open(context.settings, context.use_case.name)
    tail = writer.tail()
    serving = tail.release.serving
    if serving is not None and _is_mine(serving, writer):
        gone = tail.release.taken_out
        return _told(context, serving, gone[-1].entry if gone else None, _why(serving, writer), None)
    for _ in range(ATTEMPTS - 1):
        try:
            return _roll_back(context, writer, tail, arguments.version)
        except OvertakenError as error:
            log.warning("rollback: %s", error)
            tail = writer.tail(tail.number)
    return _roll_back(context, writer, tail, arguments.version)


def _is_mine(serving: InService, writer: ReleaseWriter) -> bool:
    """Whether an earlier attempt of this task instance put it into service."""
    return writer.actor != BY_HAND and (serving.by, serving.event) == (writer.actor, ReleaseEvent.ROLLED_BACK)


def _roll_back(context: Context, writer: ReleaseWriter, tail: Tail, version: str) -> Result:
    back, leaving = _chosen(tail.release, version), tail.release.serving
    conductor = open_conductor(context.settings, writer)
    why = _why(back, writer)
    event = ReleaseEvent.ROLLED_BACK
    outcome = conductor.serve(tail, back, event, ended=event, why=why)
    log.info(
        "rollback: version %s is in service again, instead of %s",
        back.version,
        f"version {leaving.version}" if leaving else "nothing",
    )
    return _told(context, back, leaving, why, outcome)


def _why(back: InService, writer: ReleaseWriter) -> str:
    return f"rolled back to version {back.version} ({writer.actor})"


def _told(context: Context, back: InService, left: InService | None, why: str, outcome: Outcome | None) -> Result:
    told = ""
    if left is not None:
        told = tell_registry(
            context.settings,
            context.use_case.name,
            out=left.version,
            back=back.version,
            reason=why,
        )
    return Result(
        uris={"model": back.uri},
        facts={
            "version": back.version,
            "trained_through": back.trained_through,
            "instead_of": left.version if left else None,
            "registry": told,
        }
        | ({"replicas": outcome.settled.ready, "silent_replicas": list(outcome.settled.silent)} if outcome else {}),
    )


def _chosen(release: Release, version: str) -> InService:
    """The version that is to serve again."""
    if version and release.serving is not None and version == release.serving.version:
        raise SettingsError(f"rollback: version {version} is in service already")
    back = release.known(version) if version else (release.before[-1] if release.before else None)
    if back is not None:
        return back
    known = [
        *release.before,
        *(one.entry for one in release.taken_out),
        *([release.serving] if release.serving else []),
    ]
    served = sorted({one.version for one in known}, key=int)
    told = f"served so far: {', '.join(served)}" if served else "nothing was served so far"
    if version:
        raise SettingsError(f"rollback: version {version} never served {release.use_case}; {told}")
    raise SettingsError(
        f"rollback: there is nothing to go back to: no other version of {release.use_case} served well before ({told})"
    )


if __name__ == "__main__":
    main(RollbackArguments, rollback)
