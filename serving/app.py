"""The HTTP face, put together from its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from serving import admin, answer, deployments, health, metrics, openapi, predict
from serving.access import Access, Credentials
from serving.answer import Shield
from serving.chain import Chain
from serving.errors import ServingError
from serving.limits import Limits
from serving.logs import Log
from serving.metrics import Telemetry
from serving.observation import Observation
from serving.roster import enlisted
from serving.service import Service
from serving.settings import ServingSettings


def create_app(settings: ServingSettings, log: Log | None = None) -> FastAPI:
    """The application; it serves what was last in service when it starts. `KeysError` for a bad file of API keys."""
    log = log or Log(access=settings.access_log)
    credentials = Credentials(settings)
    service = Service(settings)
    telemetry = Telemetry.of(settings, log)
    telemetry.watch_models(service.states)
    chain = Chain(settings, telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Enlisted before it reads what is served: then no change of it can be missed.
        with enlisted(settings.state):
            for part in (telemetry, chain, service):
                await part.start()
            yield
            for part in (service, chain, telemetry):
                await part.stop()
            # Not later: uvicorn ends the process by the signal that it was told to end by.
            await asyncio.to_thread(log.stop)

    app = FastAPI(
        title="nightshift serving",
        summary="Probabilities of one model.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.draining = False
    # First, for it is asked for most, and routes are tried in turn.
    app.router.routes.insert(0, predict.route(service, telemetry, settings.queue))
    app.include_router(chain.router)
    app.include_router(health.router(service))
    app.include_router(admin.router(service))
    app.include_router(deployments.router(service.folder, service.history))
    app.router.routes.append(metrics.route(telemetry))
    openapi.install(app, service, settings)
    app.add_exception_handler(ServingError, answer.serving_error)
    app.add_exception_handler(RequestValidationError, answer.invalid_request)
    # From the innermost to the outermost.
    app.add_middleware(Limits, settings=settings, telemetry=telemetry)
    app.add_middleware(Access, credentials=credentials)
    app.add_middleware(Shield)
    app.add_middleware(Observation, telemetry=telemetry, log=log)
    return app
