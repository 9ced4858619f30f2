"""The HTTP application, built from its parts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp

from formats.portable_model import ServingError
from serving import admin, answer, health, openapi, predict
from serving.access.access import Access, Credentials
from serving.access.limits import RequestLimits
from serving.answer import Shield
from serving.dialects import inference, scoring
from serving.dialects.asking import Asking
from serving.dialects.models import OneModel
from serving.dialects.refusals import Refusals
from serving.head import Head
from serving.lookups import router as lookups
from serving.lookups.published import Published
from serving.rollout import deployments
from serving.rollout.service import Service
from serving.settings import ServingSettings
from serving.shortcut import Shortcut
from serving.telemetry import metrics
from serving.telemetry.logs import Log
from serving.telemetry.metrics import Telemetry
from serving.telemetry.observation import Observation
from serving.turns import Turns
from serving.use_case_part import Mounted, load_part, own_settings


class App(FastAPI):
    """FastAPI with layers around all of it, including its own outermost one, which answers what no other layer did."""

    def __init__(self, around: Callable[[ASGIApp], ASGIApp], **given: Any) -> None:
        super().__init__(**given)
        self._around = around

    def build_middleware_stack(self) -> ASGIApp:
        """What a request passes through, as Starlette asks for it once."""
        return self._around(super().build_middleware_stack())


def create_app(
    settings: ServingSettings, log: Log | None = None, environment: Mapping[str, str] = os.environ
) -> FastAPI:
    """The application; it serves what was last in service when it starts.

    `environment` has the settings of the use case's own routes. `KeysError` for a bad file of API keys, `VariableError`
    for routes that are not there.
    """
    log = log or Log(access=settings.access_log)
    credentials = Credentials(settings)
    service = Service(settings)
    telemetry = Telemetry.of(settings, log)
    telemetry.watch_models(service.states)
    part = load_part(settings.routes) if settings.routes else None
    published = Published(settings, part.shape if part else None)
    own = own_settings(settings.routes)
    mounted = [part.mount(published, telemetry, own.read(environment) if own else None)] if part else []
    parts: list[Mounted | Published | Service | Telemetry] = [telemetry, published, *mounted, service]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for one in parts:
            await one.start()
        yield
        for one in reversed(parts):
            await one.stop()
        # Not later: uvicorn ends the process with the signal that it received.
        await asyncio.to_thread(log.stop)

    turns = Turns(telemetry, settings.queue)
    hot = predict.route(service, telemetry, turns)
    models, asking = OneModel(service), Asking(telemetry, turns)
    infer, dialects = inference.hot_routes(models, asking), [*inference.routes(models), *scoring.routes(models, asking)]

    def around(inner: ASGIApp) -> ASGIApp:
        limited = RequestLimits(Shortcut(inner, hot, infer), settings, telemetry)
        return Observation(Head(Refusals(Shield(Access(limited, credentials, settings.refusals)))), telemetry, log)

    app = App(
        around,
        title="nightshift serving",
        summary="Answers of one model.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.draining = False
    app.router.routes += [hot, *infer, *dialects]
    for one in mounted:
        app.include_router(one.router)
    app.include_router(lookups.router(published))
    app.include_router(health.router(service))
    app.include_router(admin.router(service))
    app.include_router(deployments.router(service.folder, service.history))
    app.router.routes.append(metrics.route(telemetry))
    openapi.install(app, service, settings)
    app.add_exception_handler(ServingError, answer.serving_error)
    app.add_exception_handler(RequestValidationError, answer.invalid_request)
    app.add_exception_handler(405, answer.wrong_method)
    return app
