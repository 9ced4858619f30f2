"""The HTTP face: health, what is served, predictions, deployments."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from serving import metrics, predict
from serving.chain import Chain
from serving.errors import ServingError
from serving.metrics import FOLDER, Telemetry
from serving.service import Deployment, InService, Service
from serving.settings import ServingSettings


def create_app(settings: ServingSettings) -> FastAPI:
    """The application; it loads what was last in service when it starts."""
    service = Service(settings)
    telemetry = Telemetry(settings.state / FOLDER)
    chain = Chain(settings, telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await telemetry.start()
        await chain.start()
        service.restore()
        yield
        await chain.stop()
        await telemetry.stop()

    app = FastAPI(title="nightshift serving", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.router.routes.insert(0, predict.route(service, telemetry))
    app.add_exception_handler(ServingError, _answer_serving_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(Exception, _answer_surprise)

    def admin(authorization: Annotated[str, Header()] = "") -> None:
        if settings.token is None:
            raise HTTPException(403, "deploying is off: SERVING_TOKEN is not set")
        expected = f"Bearer {settings.token.get_secret_value()}"
        if not hmac.compare_digest(authorization.encode(), expected.encode()):
            raise HTTPException(401, "wrong or missing bearer token", {"WWW-Authenticate": "Bearer"})

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready", "version": service.served.entry.version}

    @app.get("/v1/model")
    def model() -> InService:
        return service.served.entry

    @app.post("/admin/deployments", dependencies=[Depends(admin)])
    def deploy(wish: Deployment) -> InService:
        return service.deploy(wish)

    @app.delete("/admin/deployments", dependencies=[Depends(admin)], status_code=204)
    def withdraw() -> None:
        service.withdraw()

    app.include_router(chain.router)
    app.router.routes.append(metrics.route(telemetry))
    return app


async def _answer_serving_error(_: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, ServingError) else ServingError(str(error))
    headers = {} if known.retry_after is None else {"Retry-After": str(known.retry_after)}
    return JSONResponse({"detail": str(known)}, known.status, headers)


async def _answer_invalid_request(_: Request, error: Exception) -> JSONResponse:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    place = [str(part) for part in first["loc"] if part != "body"]
    if place[:1] == ["rows"] and len(place) > 1:
        place = [f"row {place[1]}", *(f"field {name!r}" for name in place[2:])]
    return JSONResponse({"detail": f"{', '.join(place) or 'body'}: {first['msg']}"}, 422)


async def _answer_surprise(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "internal error; the server's log has more"}, 500)
