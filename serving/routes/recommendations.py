"""Recommendations for a known user, for whoever a request describes, and the order of given items."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from litestar import Request, get, post
from litestar.params import JSONBody
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from core.store.history import HistoryEvent
from serving.access import FAILED_STATE, let_in
from serving.connection import WHOLE
from serving.histories import Past
from serving.measure import measured
from serving.problems import documented
from serving.query import Ask
from serving.questions import question
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
from serving.service import Service
from serving.shapes import Answer, RankAnswer
from serving.turns import Turns
from serving.wishes import Done, RankRequest, RecommendationRequest, Wishes

TAGS = ["recommendations"]
JSON = (b"content-type", b"application/json")
BEFORE, AFTER = "/v1/users/", "/recommendations"  # of the user's id in the path of `recommendations`
TEMPLATE = BEFORE + "{user_id}" + AFTER
ASK_STATE = "ask"  # where a request carries what it asks for, where that is known


def asked_before(framework: ASGIApp, service: Service) -> ASGIApp:
    """What the route has read before is answered here, without the framework routing and reading it again. What goes wrong is
    handed to the framework, which answers as if it had gone wrong there."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if service.access.required:
                await let_in(scope, service.access, READ["scope"], service.threads.database.threads)
            body = msgspec.json.encode(await _answered(service, service.threads.pipeline, scope["state"][ASK_STATE]))
        except Exception as error:  # noqa: BLE001 -- the framework raises it
            scope["state"][FAILED_STATE] = error
            await framework(scope, receive, send)
            return
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": headers}
        if WHOLE in (scope.get("extensions") or ()):
            await send(cast("Message", {**start, WHOLE: body}))
        else:
            await send(cast("Message", start))
            await send({"type": "http.response.body", "body": body, "more_body": False})

    measured_answer = measured(answer)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        ask, path = None, scope["path"]
        if scope.get("method") == "GET" and path.startswith(BEFORE) and path.endswith(AFTER):
            user = path[len(BEFORE) : -len(AFTER)]
            ask = None if "/" in user else service.questions.known(question(scope), user)
        if ask is None:
            await framework(scope, receive, send)
            return
        scope["path_template"] = TEMPLATE
        scope["state"][ASK_STATE] = ask
        await measured_answer(scope, receive, send)

    return front


@get(
    "/users/{user_id:str}/recommendations", opt=READ, responses=documented(), tags=TAGS,
    summary="Recommend items to a user",
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
    service.questions.learn(question(request.scope), ask)
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
    past = Past() if ask.user is None else await service.histories.current(ask.user)
    return await service.threads.pipeline.run(service.pipeline.rank, ask, past, began)


async def _answered(service: Service, pool: Turns, ask: Ask) -> Answer:
    """What stands is answered at once, all else by a thread of the pool."""
    began = time.perf_counter()
    past = Past() if ask.user is None else await service.histories.current(ask.user)
    again = service.pipeline.again(ask, past, began)
    if again is not None:
        return again
    return await pool.run(service.pipeline.recommend, ask, past, began)


def _events(done: Sequence[Done]) -> tuple[HistoryEvent, ...]:
    now = datetime.now(UTC)
    return tuple(HistoryEvent(one.item, one.kind, one.time or now, one.value) for one in done)


ROUTES = [recommendations, recommendations_for, rank]
