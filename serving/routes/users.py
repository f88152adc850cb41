"""Users: their attributes, everything known of them, and forgetting them."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, put
from litestar.params import JSONBody

from core.errors import NotFound
from core.events import UserChanged, UserErased
from serving.problems import documented
from serving.routes.events import publish
from serving.routes.parameters import ADMIN, EVENTS, READ, Serving, UserId
from serving.service import Service, run
from serving.shapes import Accepted, UserAnswer, UserExport, UserState

SOURCE = "/v1/users"
TAGS = ["users"]


@put(
    "/users/{user_id:str}", status_code=202, opt=EVENTS, responses=documented(413), tags=TAGS,
    summary="Set all attributes of a user",
)  # fmt: skip
async def put_user(service: Serving, user_id: UserId, data: JSONBody[UserState]) -> Accepted:
    """Publishes user.changed; visible once ingested."""
    return await publish(service, UserChanged(user=user_id, attributes=data.attributes), SOURCE)


@get("/users/{user_id:str}", opt=READ, responses=documented(404), tags=TAGS, summary="A user")
async def get_user(service: Serving, user_id: UserId) -> UserAnswer:
    """404 for a user of whom nothing is known."""
    attributes, interactions = await run(service.threads.database, _known, service, user_id)
    if attributes is None and not interactions:
        raise NotFound(f"nothing is known of a user {user_id!r}")
    return UserAnswer(user_id, attributes or {}, interactions)


@delete(
    "/users/{user_id:str}",
    status_code=202,
    opt=ADMIN,
    responses=documented(),
    tags=TAGS,
    summary="Forget a user for good",
)
async def delete_user(service: Serving, user_id: UserId) -> Accepted:
    """Publishes user.erased: rows, histories and dead letters go, and no replay brings them back."""
    accepted = await publish(service, UserErased(user=user_id), SOURCE)
    service.histories.forget(user_id)
    return accepted


@get("/users/{user_id:str}/export", opt=ADMIN, responses=documented(), tags=TAGS, summary="Everything stored of a user")
async def export_user(service: Serving, user_id: UserId) -> UserExport:
    """An erased or unknown user's export is empty."""
    return await run(service.threads.database, _export, service, user_id)


def _known(service: Service, user_id: str) -> tuple[dict[str, Any] | None, int]:
    history = service.store.history.history(user_id, service.settings.history_events)
    return service.store.catalogue.user(user_id), len(history.events)


def _export(service: Service, user_id: str) -> UserExport:
    return UserExport(user_id, service.store.catalogue.user(user_id), service.store.history.export(user_id))


ROUTES = [put_user, get_user, delete_user, export_user]
