"""Recommendations for a known user, for whoever a request describes, and the order of given items."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import JSONBody
from litestar.types import ASGIApp, Receive, Scope, Send

from core.store.history import HistoryEvent
from serving.access import let_in
from serving.histories import Past
from serving.problems import documented
from serving.query import Ask
from serving.routes.parameters import (
    READ,
    Category,
    Diversity,
    ExcludeSeen,
    Explain,
    Exploration,
    Filter,
    ReasonLocale,
    SeenKinds,
    Serving,
    Surface,
    UserId,
    WantedLimit,
)
from serving.service import Service, run
from serving.shapes import Answer, RankAnswer
from serving.turns import Turns
from serving.wishes import Done, RankRequest, RecommendationRequest, Wishes

TAGS = ["recommendations"]
JSON = (b"content-type", b"application/json")


def asked_before(app: ASGIApp) -> ASGIApp:
    """Middleware: what the route has read before is answered here, without the framework reading it again. Errors are its own."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        service: Service = scope["app"].state.service
        ask = service.questions.known(scope["query_string"], scope["path_params"]["user_id"])
        if ask is None:
            await app(scope, receive, send)
            return
        if service.access.required:
            await let_in(scope, service.access, READ["scope"], service.threads.database.threads)
        body = msgspec.json.encode(await _answered(service, service.threads.pipeline, ask))
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [JSON, length]})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return middleware


@get(
    "/users/{user_id:str}/recommendations", opt=READ, responses=documented(), tags=TAGS,
    summary="Recommend items to a user", middleware=[asked_before],
)  # fmt: skip
async def recommendations(
    request: Request[Any, Any, Any], service: Serving, user_id: UserId, limit: WantedLimit = None, surface: Surface = "default",
    category: Category = None, filter: Filter = None, exclude_seen: ExcludeSeen = None, seen_kinds: SeenKinds = None,
    diversity: Diversity = None, exploration: Exploration = None, explain: Explain = None, locale: ReasonLocale = None,
) -> Answer:  # fmt: skip
    """What the user did up to now counts, whether trained on or not. An unknown user gets popular items, labelled so."""
    wishes = Wishes(
        limit=limit, category=category, filter=filter, exclude_seen=exclude_seen, diversity=diversity,
        seen_kinds=seen_kinds.split(",") if seen_kinds else None, exploration=exploration, explain=explain,
        locale=locale,
    )  # fmt: skip
    ask = service.surfaces.ask(surface, wishes, user=user_id)
    service.questions.learn(request.scope["query_string"], ask)
    return await _answered(service, service.threads.pipeline, ask)


@post(
    "/recommendations", status_code=200, opt=READ, responses=documented(413), tags=TAGS,
    summary="Recommend with context, an anonymous session or a history",
)  # fmt: skip
async def recommendations_for(service: Serving, data: JSONBody[RecommendationRequest]) -> Answer:
    """`history` counts as if it had just come through the stream; without `user` it is all that is known."""
    ask = service.surfaces.ask(
        data.surface, data, user=data.user, session=data.session, events=_events(data.history), context=data.context
    )
    return await _answered(service, service.threads.pipeline, ask)


@post("/rank", status_code=200, opt=READ, responses=documented(413), tags=TAGS, summary="Order items for a user")
async def rank(service: Serving, data: JSONBody[RankRequest]) -> RankAnswer:
    """Every given item that may be shown, best first; the others are in `left_out`."""
    among = tuple(dict.fromkeys(data.items))
    ask = Ask(
        data.user, len(among), data.session, data.surface, None, data.exclude_seen, 0.0, data.explain,
        _events(data.history), among, data.context, locale=data.locale,
    )  # fmt: skip
    began = time.perf_counter()
    return await run(service.threads.pipeline, service.pipeline.rank, ask, await _past(service, ask), began)


async def _answered(service: Service, pool: Turns, ask: Ask) -> Answer:
    """What stands is answered at once, all else by a thread of the pool."""
    began = time.perf_counter()
    past = await _past(service, ask)
    again = service.pipeline.again(ask, past, began)
    if again is not None:
        return again
    return await run(pool, service.pipeline.recommend, ask, past, began)


async def _past(service: Service, ask: Ask) -> Past:
    return Past() if ask.user is None else await service.histories.current(ask.user)


def _events(done: Sequence[Done]) -> tuple[HistoryEvent, ...]:
    now = datetime.now(UTC)
    return tuple(HistoryEvent(one.item, one.kind, one.time or now, one.value) for one in done)


ROUTES = [recommendations, recommendations_for, rank]
