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
from serving import answer, deployments, health, openapi, predict
from serving.access.access import Access, Credentials
from serving.access.limits import RequestLimits
from serving.answer import Shield
from serving.dialects import inference, scoring
from serving.dialects.asking import Asking
from serving.dialects.refusals import Refusals
from serving.head import Head
from serving.lookups import router
from serving.lookups.lookups import Lookups
from serving.lookups.published import Published
from serving.models import Models
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
    """The application; it serves what the releases say.

    `environment` has the settings of use cases' own routes. `KeysError` for a bad file of API keys, `VariableError`
    for routes that are not there.
    """
    log = log or Log(access=settings.access_log)
    credentials = Credentials(settings)
    telemetry = Telemetry.of(settings, log)
    published, mounted = _mounted(settings, telemetry, environment)
    lookups = Lookups(settings, published)
    models = Models(settings, lookups.add)
    telemetry.watch_models(models.states, models.releases)
    parts: list[Mounted | Lookups | Models | Telemetry] = [telemetry, lookups, *mounted, models]

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
    asking = Asking(models, telemetry, turns)
    hot = [*predict.routes(models, telemetry, turns), *inference.hot_routes(models, asking)]
    dialects = [*inference.routes(models), *scoring.routes(models, asking)]

    def around(inner: ASGIApp) -> ASGIApp:
        limited = RequestLimits(Shortcut(inner, hot), settings, telemetry)
        return Observation(Head(Refusals(Shield(Access(limited, credentials, settings.refusals)))), telemetry, log)

    app = App(
        around,
        title="nightshift serving",
        summary="Answers of the models in service.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.draining, app.state.models = False, models
    app.router.routes += [*hot, *dialects]
    for one in mounted:
        app.include_router(one.router)
    app.include_router(router.router(lookups))
    app.include_router(health.router(models))
    app.include_router(deployments.router(models))
    app.router.routes.append(metrics.route(telemetry))
    openapi.install(app, models, settings)
    app.add_exception_handler(ServingError, answer.serving_error)
    app.add_exception_handler(RequestValidationError, answer.invalid_request)
    app.add_exception_handler(405, answer.wrong_method)
    return app


def _mounted(
    settings: ServingSettings, telemetry: Telemetry, environment: Mapping[str, str]
) -> tuple[list[Published], list[Mounted]]:
    """The use cases' own routes, and what is published for them."""
    published, mounted = [], []
    for package in settings.routes:
        part, own = load_part(package), own_settings(package)
        published.append(Published(settings, part.use_case, part.shape))
        mounted.append(part.mount(published[-1], telemetry, own.read(environment) if own else None))
    return published, mounted
