"""create_app: the whole server as one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from core.bus import Bus
from core.errors import HeadwaterError
from core.registry import Registry
from core.settings import Settings
from core.store import Store
from models.text.generator import TextGenerator
from serving.access import PUBLIC, guard, who_asks
from serving.console import CONSOLE
from serving.measure import measured
from serving.problems import on_bug, on_deep_nesting, on_headwater_error, on_http_error
from serving.routes import API, OPERATIONS
from serving.routes.recommendations import asked_before
from serving.service import Jobs, Service

BODY_BYTES = 1_000_000  # of a request; events may be larger


def create_app(
    settings: Settings,
    store: Store,
    registry: Registry,
    bus: Bus | None = None,
    *,
    jobs: Jobs | None = None,
    generator: TextGenerator | None = None,
) -> Litestar:
    """The server of one namespace. It starts and answers whatever is away: Postgres, the broker, models, the text model.

    `settings` needs a secret. Without `bus` a producer to settings.kafka_bootstrap is made when first needed. `jobs` is the
    schedule that /v1/jobs speaks to; `generator` writes texts for POST /v1/content, without it the template does.
    The store, the bus and the generator stay the caller's to close. Raises ConfigurationError.
    """
    service = Service(settings, store, registry, bus, jobs, generator)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = Litestar(
        route_handlers=[API, *OPERATIONS, CONSOLE],
        dependencies={
            "service": Provide(lambda: service, use_cache=True, sync_to_thread=False),
            "who": Provide(who_asks, sync_to_thread=False),
        },
        guards=[guard],
        middleware=[measured],
        exception_handlers={
            HeadwaterError: on_headwater_error,
            HTTPException: on_http_error,
            RecursionError: on_deep_nesting,
            Exception: on_bug,
        },
        lifespan=[lifespan],
        openapi_config=_openapi(),
        request_max_body_size=BODY_BYTES,
        logging_config=None,
    )
    app.state.service = service
    app.asgi_handler = asked_before(app.asgi_handler, service)
    return app


def _openapi() -> OpenAPIConfig:
    schemes: dict[str, Any] = {
        "bearer": SecurityScheme(type="http", scheme="bearer"),
        "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
    }
    return OpenAPIConfig(
        title="Headwater", version="1", description="Recommendations that know what happened a moment ago.",
        components=Components(security_schemes=schemes), security=[{"bearer": []}, {"key": []}], use_handler_docstrings=True,
        openapi_router=Router("/openapi.json", route_handlers=[], opt={"scope": PUBLIC}, include_in_schema=False),
        render_plugins=[JsonRenderPlugin(path="/")],
    )  # fmt: skip
