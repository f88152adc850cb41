"""Slates: what was shown, what became of it, and how the sources of each surface do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter, QueryParameter

from core.errors import NotFound
from core.store.slates import MOST_EVENTS
from core.store.slates import SlateEvent as Stored
from serving.problems import documented
from serving.routes.parameters import ADMIN, NO_NUL, READ, SeenKinds, Serving
from serving.service import Service, run
from serving.shapes import ClickThrough, ShownItem, SlateAnswer, SlateEvent
from serving.slate import SOURCE, issued_at

TAGS = ["slates"]
JOINED_DAYS = 30  # after which an event with a slate's token is no longer looked for
CLOCKS_APART = timedelta(hours=1)  # an application's clock may be late

Token = Annotated[str, PathParameter(min_length=1, max_length=100, pattern=NO_NUL, description="A slate's token.")]
Whose = Annotated[
    str | None,
    QueryParameter(
        min_length=1, max_length=256, pattern=NO_NUL, required=False,
        description="Whom it was shown to, where that is known: then this is one indexed read, not one of a whole month.",
    ),
]  # fmt: skip


class _Context(msgspec.Struct):
    """The part of a slate's context that serving.slate writes."""

    surface: str
    sources: list[str]
    models: dict[str, str] = {}
    fallback: str | None = None
    propensities: list[float] = []


class _Said(msgspec.Struct):
    """The data of a slate's own impression."""

    items: list[str]
    context: _Context


Days = Annotated[int, QueryParameter(ge=1, le=366, description="Of how many days, up to now.")]


@get(
    "/slates/{token:str}", opt=ADMIN, responses=documented(404), tags=TAGS,
    summary="What a slate showed, and what became of it",
)  # fmt: skip
async def slate(service: Serving, token: Token, user: Whose = None) -> SlateAnswer:
    """Its items with their sources and propensities, and events that carried its token within 30 days.

    404 until the slate's own impression is ingested, and for a slate that was lost or of an erased user.
    """
    return await run(service.threads.reports, _slate, service, token, user)


@get("/slates", opt=READ, responses=documented(), tags=TAGS, summary="Click-through by surface and source")
async def click_through(service: Serving, days: Days = 7, kinds: SeenKinds = None) -> list[ClickThrough]:
    """An item was followed when an interaction of these kinds (by default all that say it was wanted) carried its slate's token.

    Reads all events of those days: for people and reports, not for every page.
    """
    weights = service.settings.kind_weights
    wanted = kinds.split(",") if kinds else [kind for kind, weight in weights.items() if weight > 0]
    now = datetime.now(UTC)
    rows = await run(
        service.threads.reports, service.store.slates.click_through, SOURCE, now - timedelta(days=days), now, wanted
    )
    return [
        ClickThrough(one.surface, one.source, one.shown, one.followed, round(one.followed / one.shown, 4))
        for one in rows
    ]


def _slate(service: Service, token: str, user: str | None) -> SlateAnswer:
    issued = issued_at(str(service.settings.secret), token)
    until = issued + timedelta(days=JOINED_DAYS)
    events = service.store.slates.events(token, issued - CLOCKS_APART, until, user)
    own, said = next(((one, said) for one in events if (said := _said(one)) is not None), (None, None))
    if own is None or said is None:
        raise NotFound("no slate with this token is stored; it takes a moment until what was shown is ingested")
    context = said.context
    odds = context.propensities or [1.0] * len(said.items)
    lines = zip(said.items, context.sources, odds, strict=False)
    shown = [ShownItem(place, item, source, chance) for place, (item, source, chance) in enumerate(lines, 1)]
    later = [_event(one) for one in events[:MOST_EVENTS] if one is not own]
    return SlateAnswer(
        token, own.time, own.user, own.session, context.surface, context.fallback, context.models, shown, later,
        len(events) > MOST_EVENTS,
    )  # fmt: skip


def _said(one: Stored) -> _Said | None:
    """What the slate's own impression says; None for any other event."""
    if one.source != SOURCE or one.type != "impression":
        return None
    try:
        return msgspec.convert(one.data, _Said)
    except msgspec.ValidationError:  # whoever may publish events can claim to be this source
        return None


def _event(one: Stored) -> SlateEvent:
    return SlateEvent(one.type, one.time, one.item, one.value, one.position)


ROUTES = [slate, click_through]
