"""Changing what is served, and taking it back: the server first, then the history, then the registry."""

from __future__ import annotations

import logging

from include.database.tables import Deployment, Reason, State
from include.errors import DataError, SettingsError, StepError
from include.release.deployments import Deployments, Target
from include.release.serving_api import ServingApi
from include.settings import Settings

log = logging.getLogger("nightshift")


def put_into_service(
    api: ServingApi,
    history: Deployments,
    target: Target,
    reason: Reason,
    *,
    ended: State = State.REPLACED,
    detail: str | None = None,
) -> Deployment:
    """Swap the served model and note it; what served before ends in state `ended`, with `detail`.

    When the server refuses, it serves on what it served, the refusal is noted, and the error is passed on.
    """
    deployment = history.begin(target, reason)
    try:
        api.deploy(target)
    except (DataError, SettingsError) as error:
        history.end(deployment, State.REFUSED, str(error))
        raise
    history.confirm(deployment, ended=ended, detail=detail)
    return deployment


def tell_registry(settings: Settings, use_case: str, *, out: Target, back: Target | None, reason: str) -> str:
    """Mark a version as rejected and let `champion` name the one that serves instead; what was done, in words.

    What is served has changed already. So a registry that does not answer is reported, not raised: the version taken
    out stays out, because `deploy` asks the history too.
    """
    try:
        from include.registry.versions import Alias, Registry

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
