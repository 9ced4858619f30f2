"""Requests of the deploy step: put a model into service, or withdraw it."""

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
        """Takes effect immediately, or starts a rollout; on any error the old version stays in service."""
        done = service.deploy(wish, by=request.state.caller)
        if isinstance(done, Rollout):
            response.status_code = BEGUN
        return done

    @found.delete("/admin/deployments", summary="Serve nothing from now on", status_code=204)
    def withdraw(request: Request) -> None:
        """This survives restarts; deploy again to end it."""
        service.withdraw(by=request.state.caller)

    return found
