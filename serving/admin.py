"""What the deploy step asks: a model into service, or out of it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.rollout.rollout import InService, Rollout
from serving.rollout.service import DeploymentRequest, Service

BEGUN = 202


def router(service: Service) -> APIRouter:
    """`POST` and `DELETE /admin/deployments`."""
    found = APIRouter(tags=["deployments"])

    @found.post(
        "/admin/deployments",
        summary="Put a model file into service",
        responses={BEGUN: {"model": Rollout, "description": "Its rollout has begun"}},
    )
    def deploy(wish: DeploymentRequest, request: Request, response: Response) -> InService | Rollout:
        """At once, or by a rollout in which it has to prove itself; on any error what was served is served still."""
        done = service.deploy(wish, by=request.state.caller)
        if isinstance(done, Rollout):
            response.status_code = BEGUN
        return done

    @found.delete("/admin/deployments", summary="Serve nothing from now on", status_code=204)
    def withdraw(request: Request) -> None:
        """Restarts included; deploy again to end that."""
        service.withdraw(by=request.state.caller)

    return found
