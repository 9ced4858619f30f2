"""deploy: the champion's model file into service, unless this run is about older days than what is served."""

from __future__ import annotations

import logging
from datetime import date

from include.database.tables import Reason, State
from include.errors import DataError
from include.registry.versions import Registry
from include.release.deployments import Deployments, Target
from include.release.reversal import put_into_service, tell_registry
from include.release.serving_api import Served, ServingApi
from include.settings import Settings
from include.step import Context, Result, StepArguments, main

log = logging.getLogger("nightshift")


class Arguments(StepArguments):
    """What deploy is told; `force` changes nothing: a backfill never replaces what is served."""


def deploy(context: Context, arguments: Arguments) -> Result:
    """Put the champion into service if it is not there yet, and note it in the history.

    What is served stays when there is no champion, when it serves already, when it was rolled back or failed its
    smoke test, or when the run's day is older than what the served model has seen. Raises `DataError` when the server
    refuses the model file, `FaultError` when server, registry or tables do not answer.
    """
    history = Deployments.open(context.settings, context.use_case.name)
    api = ServingApi.open(context.settings, context.use_case.name)
    # All that is decided on is read under the lock: a run of older days may be at work at the same time.
    with history.locked():
        return _deploy(context.settings, api, history, arguments.date)


def _deploy(settings: Settings, api: ServingApi, history: Deployments, day: date) -> Result:
    served = api.served()
    if served and served.trained_through and day < served.trained_through:
        return _stays(api, served, f"the run of {day} is a backfill; what is served has seen later days")
    version = Registry.open(settings, history.use_case).champion()
    if version is None:
        return _stays(api, served, "no version was promoted yet")
    champion = Target(version.version, version.model_uri, version.sha256, version.trained_through)
    if state := _taken_out(settings, history, champion):
        return _stays(api, served, f"champion version {champion.version} was taken out of service ({state})")
    if served is not None and (served.version, served.sha256) == (champion.version, champion.sha256):
        _note_unnoted(history, champion)
        return _stays(api, served, "the champion serves already")
    try:
        put_into_service(api, history, champion, Reason.NIGHTLY)
    except DataError as error:
        stays = f"version {served.version} stays in service" if served else "nothing is in service"
        raise DataError(f"version {champion.version} is not deployed, {stays}: {error}") from None
    log.info("deploy: version %s is in service at %s", champion.version, api.url)
    return Result(
        uris={"serving": api.url, "model": champion.model_uri},
        facts={"deployed": True, "version": champion.version, "before": served.version if served else None},
    )


def _taken_out(settings: Settings, history: Deployments, champion: Target) -> str:
    """How the champion left service for good, empty if it did not; the registry, which does not know, is told."""
    before = history.served(champion.version)
    if before is None or before.state not in (State.ROLLED_BACK, State.FAILED):
        return ""
    current = history.current()
    back = Target.of(current) if current else None
    tell_registry(settings, history.use_case, out=champion, back=back, reason=before.detail or str(before.state))
    return before.state.replace("_", " ")


def _note_unnoted(history: Deployments, target: Target) -> None:
    """Bring the history up to date when an earlier try was killed between the swap and the note of it."""
    current = history.current()
    if current is None or (current.version, current.sha256) != (target.version, target.sha256):
        history.confirm(history.begin(target, Reason.NIGHTLY))


def _stays(api: ServingApi, served: Served | None, why: str) -> Result:
    version = served.version if served else None
    log.info("deploy: %s; %s", why, f"version {version} stays in service" if served else "nothing is in service")
    uris = {"serving": api.url} | ({"model": served.uri} if served else {})
    return Result(uris=uris, facts={"deployed": False, "version": version, "why": why})


if __name__ == "__main__":
    main(Arguments, deploy)
