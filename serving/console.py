"""The console: what runs, one user, one item, texts. Rendered on the server, no build step, no script.

What is here only ever reads; texts are decided on in serving/console_texts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Response, Router, get
from litestar.params import QueryParameter
from litestar.response import Redirect
from litestar.static_files import create_static_files_router

from core.errors import NotFound
from serving import figures
from serving.access import PUBLIC
from serving.console_texts import ROUTES as TEXTS
from serving.page import page
from serving.routes.parameters import ADMIN, ItemId, Serving, UserId
from serving.service import Service, run

STATIC = Path(__file__).parent / "static"


@get("/")
async def front(service: Serving) -> Response[str]:
    """What runs: events, dead letters, models, jobs, texts."""
    return await run(service.threads.database, _page, "front.html", figures.front, service)


@get("/users/{user_id:str}")
async def user(service: Serving, user_id: UserId) -> Response[str]:
    """What a user did, and what they would be recommended now."""
    return await run(service.threads.database, _page, "user.html", figures.user, service, user_id)


@get("/items/{item_id:str}")
async def item(service: Serving, item_id: ItemId) -> Response[str]:
    """What is known of an item, its text, and what goes with it."""
    return await run(service.threads.database, _page, "item.html", figures.item, service, item_id)


@get("/search")
async def search(service: Serving, q: Annotated[str, QueryParameter(max_length=256)] = "") -> Response[Any]:
    """To the user or item of that id; else to the items whose title holds the words."""
    return await run(service.threads.database, _found, service, q.strip().replace("\0", ""))


def _found(service: Service, wanted: str) -> Response[Any]:
    where = figures.place_of(service, wanted)
    if where is not None:
        return Redirect(f"/console/{where}/{quote(wanted, safe='')}", status_code=303)
    found = figures.titled(service.catalogue.view, wanted)
    if not found and wanted:
        raise NotFound(f"no user, item or title matches {wanted!r}")
    return page("search.html", title="Search", wanted=wanted, found=found)


def _page(template: str, gather: Callable[..., dict[str, Any]], service: Service, *about: str) -> Response[str]:
    return page(template, keyless=not service.access.required, **gather(service, *about))


CONSOLE = Router(
    "/console",
    route_handlers=[
        front, user, item, search, *TEXTS,
        create_static_files_router("/static", [STATIC], opt={"scope": PUBLIC}, include_in_schema=False),
    ],
    opt=ADMIN, include_in_schema=False,
)  # fmt: skip
