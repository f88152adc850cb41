"""Users: their attributes, everything known of them, and forgetting them."""

from __future__ import annotations

import time
from typing import Any

from litestar import Response, delete, get, put
from litestar.params import JSONBody

from core.errors import NotFound
from core.events import UserChanged, UserErased
from features.export import as_parquet, everything_of
from serving.problems import documented
from serving.routes.events import publish
from serving.routes.parameters import ADMIN, EVENTS, READ, Limit, Serving, UserId
from serving.service import Service, run
from serving.shapes import Accepted, SimilarUser, SimilarUsers, UserAnswer, UserExport, UserState

SOURCE = "/v1/users"
TAGS = ["users"]
SHARED = 10  # items named at most that two users have in common
PARQUET = "application/vnd.apache.parquet"


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
    opt=EVENTS,
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
    """Attributes, every event, detached months' too, and dead letters that name the user. An erased user's is empty."""
    return await run(service.threads.reports, _export, service, user_id)


@get(
    "/users/{user_id:str}/export.parquet", opt=ADMIN, responses=documented(), tags=TAGS, media_type=PARQUET,
    summary="Everything stored of a user, as a table",
)  # fmt: skip
async def export_table(service: Serving, user_id: UserId) -> Response[bytes]:
    """The events as Parquet, for pandas.read_parquet; the rest is in the data frame's `attrs`."""
    table = as_parquet(await run(service.threads.reports, everything_of, service.store, user_id))
    return Response(table, headers={"Content-Disposition": 'attachment; filename="user.parquet"'})


@get(
    "/users/{user_id:str}/similar", opt=ADMIN, responses=documented(), tags=TAGS,
    summary="Users who did much the same of late",
)  # fmt: skip
async def similar_users(service: Serving, user_id: UserId, limit: Limit = 10) -> SimilarUsers:
    """By their newest interactions, looked for among the users of the newest events. Nobody for a user who did nothing.

    It names other users and what they did, hence the scope.
    """
    began = time.perf_counter()
    weights = service.settings.kind_weights
    found = await run(service.threads.reports, service.store.audience.like, user_id, limit, weights)
    users = [SimilarUser(one.user, round(one.score, 4), list(one.shared[:SHARED])) for one in found]
    return SimilarUsers(users, round((time.perf_counter() - began) * 1000, 2))


def _known(service: Service, user_id: str) -> tuple[dict[str, Any] | None, int]:
    history = service.store.history.history(user_id, service.settings.history_events)
    return service.store.catalogue.user(user_id), len(history.events)


def _export(service: Service, user_id: str) -> UserExport:
    return UserExport(**everything_of(service.store, user_id))


ROUTES = [put_user, get_user, delete_user, export_user, export_table, similar_users]
