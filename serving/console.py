"""The console: what runs, one user, one item. Rendered on the server, no build step, no script; it only ever reads."""

from __future__ import annotations

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
from serving.page import page
from serving.routes.parameters import ADMIN, ItemId, Serving, UserId
from serving.service import run

STATIC = Path(__file__).parent / "static"


@get("/")
async def front(service: Serving) -> Response[str]:
    """What runs: events, dead letters, models, jobs, texts."""
    return page("front.html", title="What runs", **await run(service.threads.database, figures.front, service))


@get("/users/{user_id:str}")
async def user(service: Serving, user_id: UserId) -> Response[str]:
    """What a user did, and what they would be recommended now."""
    shown = await run(service.threads.pipeline, figures.user, service, user_id)
    return page("user.html", title=f"User {user_id}", **shown)


@get("/items/{item_id:str}")
async def item(service: Serving, item_id: ItemId) -> Response[str]:
    """What is known of an item, its text, and what goes with it."""
    shown = await run(service.threads.database, figures.item, service, item_id)
    return page("item.html", title=shown["name"], **shown)


@get("/search")
async def search(service: Serving, q: Annotated[str, QueryParameter(max_length=256)] = "") -> Response[Any]:
    """To the user or item of that id; else to the items whose title holds the words."""
    wanted = q.strip().replace("\0", "")
    view = service.catalogue.view
    is_user = await run(service.threads.database, figures.has_history, service, wanted)
    if is_user:
        return Redirect(f"/console/users/{quote(wanted, safe='')}", status_code=303)
    if view.row(wanted) >= 0:
        return Redirect(f"/console/items/{quote(wanted, safe='')}", status_code=303)
    found = figures.titled(view, wanted)
    if not found and wanted:
        raise NotFound(f"no user, item or title matches {wanted!r}")
    return page("search.html", title="Search", wanted=wanted, found=found)


CONSOLE = Router(
    "/console",
    route_handlers=[
        front, user, item, search,
        create_static_files_router("/static", [STATIC], opt={"scope": PUBLIC}, include_in_schema=False),
    ],
    opt=ADMIN, include_in_schema=False,
)  # fmt: skip
