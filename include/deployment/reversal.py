"""Changing what is served, and taking it back: the server first, then the history, then the registry."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from formats.rollout_plan import Phase, Plan
from include.database.tables import Deployment, DeploymentReason, DeploymentState
from include.deployment.deployments import DeploymentHistory, Target
from include.deployment.serving_api import RolloutOutcome, ServingApi
from include.errors import DataError, SettingsError, StepError
from include.settings import Settings

log = logging.getLogger("nightshift")


class RejectedError(DataError):
    """A version broke a limit of its rollout; the previous version stays in service."""


def put_into_service(
    api: ServingApi,
    history: DeploymentHistory,
    target: Target,
    reason: DeploymentReason,
    *,
    ended: DeploymentState = DeploymentState.REPLACED,
    detail: str | None = None,
) -> Deployment:
    """Swap the served model and note it; what served before ends in state `ended`, with `detail`.

    When the server refuses, the old version stays in service, the refusal is noted, and the error is passed on.
    """
    deployment = history.begin(target, reason)
    try:
        api.deploy(target, history.actor)
    except (DataError, SettingsError) as error:
        history.end(deployment, DeploymentState.REFUSED, str(error))
        raise
    history.confirm(deployment, ended=ended, detail=detail)
    return deployment


def roll_out(
    api: ServingApi,
    history: DeploymentHistory,
    target: Target,
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    *,
    detail: str | None = None,
) -> RolloutOutcome | None:
    """Roll a version out beside the served one, and note how that ended; None if it served immediately.

    `detail` is what the history says of it from the beginning.

    Raises `RejectedError` when it broke a limit, and as `put_into_service` does.
    """
    deployment = history.begin(target, DeploymentReason.NIGHTLY, detail)
    try:
        outcome = api.roll_out(target, plan, rows, history.actor)
    except (DataError, SettingsError) as error:
        history.end(deployment, DeploymentState.REFUSED, str(error))
        raise
    if outcome is not None:
        history.rolled_out(deployment, outcome.facts)
        if outcome.phase is Phase.ROLLED_BACK:
            history.end(deployment, DeploymentState.REJECTED, outcome.reason)
            raise RejectedError(outcome.reason)
    history.confirm(deployment)
    return outcome


def tell_registry(settings: Settings, use_case: str, *, out: Target, back: Target | None, reason: str) -> str:
    """Mark a version as rejected and let `champion` name the one that serves instead; what was done, in words.

    What is served has changed already. So a registry that does not answer is reported, not raised: the version taken
    out stays out, because `deploy` asks the history too.
    """
    try:
        from include.model_registry.versions import Alias, Registry

        registry = Registry.open(settings, use_case)
        known = {version.version: version for version in registry.versions()}
        if out.version in known:
            registry.reject(known[out.version], reason)
        if back is not None and back.version in known:
            registry.readmit(known[back.version])
            registry.set_alias(Alias.CHAMPION, known[back.version])
    except StepError as error:
        log.warning("the registry does not know of it yet: %s", error)
        return f"not told yet, the next deploy will: {error}"
    champion = f", champion is version {back.version}" if back is not None else ""
    return f"version {out.version} rejected{champion}"
