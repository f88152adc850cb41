"""For those who run it: whether the process answers, whether it has something to serve, and its metrics."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from litestar import MediaType, Response, get
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.access import PUBLIC
from serving.routes.parameters import Serving
from serving.shapes import Health, Readiness

OPEN: dict[str, Any] = {"scope": PUBLIC}
TAGS = ["operations"]


@get("/healthz", opt=OPEN, tags=TAGS, summary="The process answers")
async def healthz() -> Health:
    """Always 200 while the process can answer at all."""
    return Health("ok")


@get("/readyz", opt=OPEN, tags=TAGS, summary="There is something to serve", responses={503: ResponseSpec(Readiness)})
async def readyz(service: Serving) -> Response[Readiness]:
    """200 when a model is loaded or an item may be shown, whether Postgres answers or not; 503 until then, and while it stops."""
    catalogue = service.catalogue
    models = {name: served.version.version for name, served in service.models.served.items()}
    items = int(np.isfinite(catalogue.view.fresh_s).sum())
    ready = (bool(models) or items > 0) and not service.door.draining
    age_s = round(catalogue.age_s, 2) if catalogue.loaded else None
    return Response(Readiness(ready, models, items, age_s), status_code=200 if ready else 503)


@get("/metrics", opt=OPEN, tags=TAGS, summary="Metrics for Prometheus", media_type=MediaType.TEXT)
async def metrics(service: Serving) -> Response[str]:
    """Nothing in them is about any one user or item."""
    text = await asyncio.to_thread(generate_latest)
    return Response(text.decode(), headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = [healthz, readyz, metrics]
