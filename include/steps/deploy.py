"""deploy: put the champion into service, after a rollout beside the served version.

A run for older days than the served model has seen changes nothing.
"""

from __future__ import annotations

import logging
from datetime import date

from formats.rollout_plan import Plan
from include.database.tables import DeploymentReason, DeploymentState
from include.deployment.deployments import DeploymentHistory, Target
from include.deployment.reversal import RejectedError, roll_out, tell_registry
from include.deployment.sampled_rows import sampled_rows
from include.deployment.serving_api import ServedModel, ServingApi
from include.errors import DataError
from include.model_registry.versions import Registry, Version
from include.settings import Settings
from include.step import Context, Result, StepArguments, main

log = logging.getLogger("nightshift")


class DeployArguments(StepArguments):
    """Command-line arguments of deploy; `force` has no effect: a backfill never replaces what is served."""


def deploy(context: Context, arguments: DeployArguments) -> Result:
    """Roll the champion out if it is not in service yet, wait for the end, and note it in the history.

    What is served stays when there is no champion, when it serves already, when it was rolled back, rejected or failed
    its smoke test, or when the run's day is older than what the served model has seen. A champion that a person chose
    in MLflow is tried even so: the history and the result say who. Raises `DataError` when the
    server refuses the model file, `RejectedError` when it breaks a limit of the rollout, `FaultError` when
    server, registry or tables do not answer.
    """
    history = DeploymentHistory.open(context.settings, context.use_case.name)
    api = ServingApi.open(context.settings, context.use_case.name)
    # Everything that decides is read under the lock: a run of older days may be running too.
    with history.locked():
        return _deploy(context, api, history, arguments.date)


def _deploy(context: Context, api: ServingApi, history: DeploymentHistory, day: date) -> Result:
    settings = context.settings
    served = api.served()
    if served and served.trained_through and day < served.trained_through:
        return _stays(api, served, f"the run of {day} is a backfill; what is served has seen later days")
    registry = Registry.open(settings, history.use_case)
    version, chosen = registry.champion(), registry.hand_picked()
    if version is None:
        return _stays(api, served, "no version was promoted yet")
    if chosen is not None:
        registry.readmit(chosen)
    champion = Target(version.version, version.model_uri, version.sha256, version.trained_through)
    if chosen is None and (state := _taken_out(settings, history, champion)):
        return _stays(api, served, f"champion version {champion.version} was taken out of service ({state})")
    if served is not None and (served.version, served.sha256) == (champion.version, champion.sha256):
        _note_unnoted(api, history, champion)
        return _stays(api, served, "the champion serves already")
    told = _by_hand(chosen)
    stays = f"version {served.version} stays in service" if served else "nothing is in service"
    plan = _plan(context)
    rows = sampled_rows(context, [champion.sha256, served.sha256], day, plan.shadow_rows) if served else []
    try:
        outcome = roll_out(api, history, champion, plan, rows, detail=told)
    except RejectedError as error:
        told = _tell(settings, history, champion, str(error))
        raise RejectedError(
            f"version {champion.version} is rolled back, {stays}: {error} (registry: {told}); "
            "if it is meant to be so, widen the limits of ROLLOUT in the use case's gates.py"
        ) from None
    except DataError as error:
        raise DataError(f"version {champion.version} is not deployed, {stays}: {error}") from None
    log.info("deploy: version %s is in service at %s%s", champion.version, api.url, f", {told}" if told else "")
    return Result(
        uris={"serving": api.url, "model": champion.model_uri},
        facts={"deployed": True, "version": champion.version, "before": served.version if served else None}
        | ({"why": told} if told else {})
        | ({"rollout": outcome.metrics, "remark": outcome.reason} if outcome else {}),
    )


def _by_hand(chosen: Version | None) -> str | None:
    """Who made a version champion, if a person did: MLflow notes no name, so a person may write it on the version."""
    return None if chosen is None else f"champion by hand in MLflow ({chosen.promoted_by or 'no name in promoted_by'})"


def _plan(context: Context) -> Plan:
    """The use case's plan (`ROLLOUT` in its gates.py), with the overrides of the deployment's settings."""
    plan: Plan = getattr(context.use_case.part("gates"), "ROLLOUT", Plan())
    told = {"share": context.settings.rollout_share, "watch_seconds": context.settings.rollout_watch_seconds}
    return plan.model_copy(update={name: value for name, value in told.items() if value is not None})


def _taken_out(settings: Settings, history: DeploymentHistory, champion: Target) -> str:
    """How the champion left service for good, or empty; also updates the registry, which may not know."""
    before = history.served(champion.version)
    if before is None or before.state not in (
        DeploymentState.ROLLED_BACK,
        DeploymentState.FAILED,
        DeploymentState.REJECTED,
    ):
        return ""
    _tell(settings, history, champion, before.detail or str(before.state))
    return before.state.replace("_", " ")


def _tell(settings: Settings, history: DeploymentHistory, out: Target, reason: str) -> str:
    """Update the registry: a version is out of service, and another one serves."""
    current = history.current()
    back = Target.of(current) if current else None
    return tell_registry(settings, history.use_case, out=out, back=back, reason=reason)


def _note_unnoted(api: ServingApi, history: DeploymentHistory, target: Target) -> None:
    """Complete the history if an earlier attempt was killed between the swap and its note."""
    current = history.current()
    if current is not None and (current.version, current.sha256) == (target.version, target.sha256):
        return
    deployment = history.begin(target, DeploymentReason.NIGHTLY)
    rollout = api.rollout()
    if rollout is not None and (rollout.version, rollout.sha256) == (target.version, target.sha256):
        history.rolled_out(deployment, rollout.facts)
    history.confirm(deployment)


def _stays(api: ServingApi, served: ServedModel | None, why: str) -> Result:
    version = served.version if served else None
    log.info("deploy: %s; %s", why, f"version {version} stays in service" if served else "nothing is in service")
    uris = {"serving": api.url} | ({"model": served.uri} if served else {})
    return Result(uris=uris, facts={"deployed": False, "version": version, "why": why})


if __name__ == "__main__":
    main(DeployArguments, deploy)
