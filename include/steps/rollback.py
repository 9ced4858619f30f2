"""rollback: put the previously served model, or a named version, back into service."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import StringConstraints

from include.database.tables import Deployment, DeploymentReason, DeploymentState
from include.deployment.deployments import DeploymentHistory, Target
from include.deployment.reversal import put_into_service, tell_registry
from include.deployment.serving_api import ServingApi
from include.errors import SettingsError
from include.step import Context, Result, StepArguments, main

log = logging.getLogger("nightshift")


class RollbackArguments(StepArguments):
    """Command-line arguments of rollback; an empty `version` means the one that served before the present one."""

    version: Annotated[str, StringConstraints(pattern=r"^[0-9]*$")] = ""


def rollback(context: Context, arguments: RollbackArguments) -> Result:
    """Put the previous version back: the newest other one that served well.

    The version that leaves is marked as rolled back, so that each further rollback steps back one version, and as
    rejected in the registry, so that no later night deploys it or predicts with it. A retry of the same task instance
    does not step back twice. Raises `SettingsError` when there is no version to put back.
    """
    api = ServingApi.open(context.settings, context.use_case.name)
    history = DeploymentHistory.open(context.settings, context.use_case.name)
    with history.locked():
        deployment = history.mine(DeploymentReason.ROLLBACK) or _roll_back(api, history, arguments.version)
    left = history.find(deployment.replaces)
    told = ""
    if left is not None and left.version != deployment.version:
        told = tell_registry(
            context.settings,
            context.use_case.name,
            out=Target.of(left),
            back=Target.of(deployment),
            reason=left.detail or str(left.state),
        )
    return Result(
        uris={"serving": api.url, "model": deployment.model_uri},
        facts={
            "version": deployment.version,
            "trained_through": deployment.trained_through,
            "instead_of": left.version if left else None,
            "registry": told,
        },
    )


def _roll_back(api: ServingApi, history: DeploymentHistory, version: str) -> Deployment:
    current = history.current()
    back = _chosen(history, current, version)
    leaving = f"version {current.version}" if current else "nothing"
    detail = f"rolled back to version {back.version} ({history.actor})"
    deployment = put_into_service(
        api, history, Target.of(back), DeploymentReason.ROLLBACK, ended=DeploymentState.ROLLED_BACK, detail=detail
    )
    log.info("rollback: version %s is in service again, instead of %s", back.version, leaving)
    return deployment


def _chosen(history: DeploymentHistory, current: Deployment | None, version: str) -> Deployment:
    """The deployment whose version is to serve again."""
    if version and current is not None and version == current.version:
        raise SettingsError(f"rollback: version {version} is in service already")
    back = history.served(version) if version else history.previous()
    if back is not None:
        return back
    served = sorted({one.version for one in history.all() if one.state is not DeploymentState.REFUSED}, key=int)
    known = f"served so far: {', '.join(served)}" if served else "nothing was served so far"
    if version:
        raise SettingsError(f"rollback: version {version} never served {history.use_case}; {known}")
    raise SettingsError(
        f"rollback: there is nothing to go back to: no other version of {history.use_case} served well before ({known})"
    )


if __name__ == "__main__":
    main(RollbackArguments, rollback)
