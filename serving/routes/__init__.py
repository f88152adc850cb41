"""The routes, one file a subject. Thin: they translate between HTTP and the rooms behind it."""

from __future__ import annotations

from litestar import Router

from serving.routes import (
    content,
    events,
    health,
    items,
    jobs,
    models,
    recommendations,
    regeneration,
    reviews,
    slates,
    users,
    writing,
)

API = Router(
    "/v1",
    route_handlers=[
        *events.ROUTES, *recommendations.ROUTES, *items.ROUTES, *users.ROUTES, *slates.ROUTES, *content.ROUTES,
        *writing.ROUTES, *regeneration.ROUTES, *reviews.ROUTES, *models.ROUTES, *jobs.ROUTES,
    ],
)  # fmt: skip
OPERATIONS = health.ROUTES
