"""Recommendations for a known user, for whoever a request describes, and the order of given items."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from litestar import get, post
from litestar.params import JSONBody

from core.store.history import HistoryEvent
from serving.problems import documented
from serving.query import Ask
from serving.routes.parameters import READ, Category, Diversity, ExcludeSeen, Explain, Limit, Serving, Surface, UserId
from serving.service import run
from serving.shapes import Answer, Done, RankAnswer, RankRequest, RecommendationRequest

TAGS = ["recommendations"]


@get(
    "/users/{user_id:str}/recommendations", opt=READ, responses=documented(), tags=TAGS,
    summary="Recommend items to a user",
)  # fmt: skip
async def recommendations(
    service: Serving, user_id: UserId, limit: Limit = 10, surface: Surface = "default", category: Category = None,
    exclude_seen: ExcludeSeen = True, diversity: Diversity = 0.0, explain: Explain = True,
) -> Answer:  # fmt: skip
    """What the user did up to now counts, whether trained on or not. An unknown user gets popular items, labelled so."""
    ask = Ask(user_id, limit, None, surface, category, exclude_seen, diversity, explain)
    return await run(service.threads.pipeline, service.pipeline.recommend, ask)


@post(
    "/recommendations", status_code=200, opt=READ, responses=documented(413), tags=TAGS,
    summary="Recommend with context, an anonymous session or a history",
)  # fmt: skip
async def recommendations_for(service: Serving, data: JSONBody[RecommendationRequest]) -> Answer:
    """`history` counts as if it had just come through the stream; without `user` it is all that is known."""
    ask = Ask(
        data.user, data.limit, data.session, data.surface, data.category, data.exclude_seen, data.diversity,
        data.explain, _events(data.history), None, data.context,
    )  # fmt: skip
    return await run(service.threads.pipeline, service.pipeline.recommend, ask)


@post("/rank", status_code=200, opt=READ, responses=documented(413), tags=TAGS, summary="Order items for a user")
async def rank(service: Serving, data: JSONBody[RankRequest]) -> RankAnswer:
    """Every given item that may be shown, best first; the others are in `left_out`."""
    among = tuple(dict.fromkeys(data.items))
    ask = Ask(
        data.user, len(among), data.session, data.surface, None, data.exclude_seen, 0.0, data.explain,
        _events(data.history), among, data.context,
    )  # fmt: skip
    return await run(service.threads.pipeline, service.pipeline.rank, ask)


def _events(done: Sequence[Done]) -> tuple[HistoryEvent, ...]:
    now = datetime.now(UTC)
    return tuple(HistoryEvent(one.item, one.kind, one.time or now, one.value) for one in done)


ROUTES = [recommendations, recommendations_for, rank]
