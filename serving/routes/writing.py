"""Writing a text now, of every kind: answered when it is verified, or told as events while it is written (docs/adr/0022)."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.params import JSONBody
from litestar.response import ServerSentEvent, ServerSentEventMessage

from core.errors import DatabaseUnavailable, HeadwaterError, InvalidRequest
from core.requests import input_hash_of
from core.store.catalogue import Item
from core.store.contents import ContentStore
from models.content import ITEM_KINDS
from models.content.about import BECAUSE, OF, because_of, facts_about
from models.content.kind import ContentKind, Facts, Style, house_style
from models.content.writer import Written, as_content, facts_of
from serving.asked import facts_asked, kind_asked, style_asked
from serving.desk import Hear
from serving.problems import documented
from serving.routes.content import TAGS, InMemory
from serving.routes.items import known_item
from serving.routes.parameters import CONTENT_WRITE, Serving
from serving.service import Service, run
from serving.text_shapes import ContentRequest, WrittenAnswer

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
LEFT = 499  # a caller who left, in logs and metrics
WHO = "headwater serve"  # in the record of a text's changes


@post(
    "/content",
    status_code=200,
    opt=CONTENT_WRITE,
    responses=documented(404, 413),
    tags=TAGS,
    summary="Write a text now",
)
async def write_content(
    request: Request[Any, Any, Any], service: Serving, data: JSONBody[ContentRequest]
) -> Response[WrittenAnswer]:
    """Asks the text model if this server has one, and checks what it says; the template answers where nothing is verified in
    time.

    With `stream`, or `Accept: text/event-stream`, it answers with events: `asked`, `refused` with the reasons, and at last
    `written` with what it would have answered, or `failed`. A text about an item that is for everyone, in the namespace's style,
    is stored: a description, a headline, a translation of what is shown, and what a model says of an item because of another.
    """
    kind = kind_asked(data)
    style = style_asked(data, service.settings)
    facts = facts_asked(data, style, lambda item: facts_of(known_item(service, item)))
    place = _place(service, data) if style.key == house_style(service.settings).key else None  # else it is one caller's
    if place is not None and place.name.startswith(OF):
        around, locale = InMemory(service), str(style.locale)
        facts = await run(service.threads.content, facts_about, place.name, place.item, locale, around)
    answer = partial(_answer, service, kind, facts, style, _deadline_s(service, data), place)
    if data.stream or EVENT_STREAM in request.headers.get("accept", ""):
        return cast("Response[WrittenAnswer]", ServerSentEvent(_events(answer), status_code=200))
    return await _while_waited_for(request, answer())


@dataclass(frozen=True)
class _Place:
    """Where a text is kept: the item, the name of its kind there, and what else it is about."""

    item: Item
    name: str
    about: dict[str, str]


def _place(service: Service, data: ContentRequest) -> _Place | None:
    """Where the text that is asked for is kept; None for one that is the caller's alone."""
    name, about = data.kind, dict[str, str]()
    if data.kind == "translation" and data.of in ITEM_KINDS and data.text is None:
        name = OF + data.of
    elif data.kind == BECAUSE and data.history is not None and len(data.history) == 1:
        about = because_of(data.history[0].item, data.history[0].kind)
    elif data.kind not in ITEM_KINDS:
        return None
    return _Place(known_item(service, str(data.item)), name, about)


def _deadline_s(service: Service, data: ContentRequest) -> float:
    longest = service.settings.content_max_deadline_ms
    deadline_ms = data.deadline_ms or min(service.settings.content_deadline_ms, longest)
    if deadline_ms > longest:
        raise InvalidRequest(f"deadline_ms: {deadline_ms} is longer than this server allows; give 1 to {longest}")
    return deadline_ms / 1000


async def _answer(
    service: Service,
    kind: ContentKind[Any],
    facts: Facts,
    style: Style,
    deadline_s: float,
    place: _Place | None,
    *hear: Hear,
) -> WrittenAnswer:
    written, rest_s = await service.desk.write(kind, facts, style, deadline_s, *hear)
    stored = False
    if place is not None:
        with suppress(DatabaseUnavailable):  # the answer says that it is not stored
            stored = await run(service.threads.database, _store, service.store.contents, written, place)
    return WrittenAnswer(
        written.item, kind.name, written.locale, written.text, written.status, written.origin, written.model, False,
        written.note, written.attempts, stored, math.ceil(rest_s),
    )  # fmt: skip


async def _while_waited_for(
    request: Request[Any, Any, Any], answering: Coroutine[Any, Any, WrittenAnswer]
) -> Response[WrittenAnswer]:
    """The answer; a caller who leaves before ends the work, as one who leaves a stream does."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(answering), asyncio.create_task(left())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and leaving.exception() is None:
            return cast("Response[WrittenAnswer]", Response(None, status_code=LEFT))  # nobody reads it
        return Response(await working)  # also where nothing can be heard of the caller
    finally:
        working.cancel()
        leaving.cancel()


def _store(contents: ContentStore, written: Written, place: _Place) -> bool:
    """Keep a text for everyone. A template's, which can be made at any time, never takes the place of a model's; and of pairs of
    items, of which there are too many, only what a model wrote is kept."""
    content = replace(
        as_content(written, place.item, written.locale), kind=place.name, about=place.about,
        input_hash=input_hash_of(place.about),
    )  # fmt: skip
    if written.origin == "template":
        if place.about:
            return False
        found = contents.content(content.item, content.kind, content.locale)
        if found is not None and found[0].origin != "template":
            return False
    return contents.save([content], who=WHO) > 0


async def _events(answering: Callable[[Hear], Awaitable[WrittenAnswer]]) -> AsyncIterator[ServerSentEventMessage]:
    """What happens until the text is written. Nothing of a text stands in any of them before it is verified."""
    heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def work() -> None:
        try:
            answer = await answering(lambda name, said: heard.put_nowait((name, said)))
        except HeadwaterError as error:
            heard.put_nowait(("failed", {"code": error.code, "detail": str(error)}))
        except Exception:
            log.exception("a text could not be written")
            heard.put_nowait(
                ("failed", {"code": "internal", "detail": "something went wrong here; the server's log has it"})
            )
        else:
            heard.put_nowait(("written", answer))

    working = asyncio.create_task(work())
    try:
        name = ""
        while name not in ("written", "failed"):
            name, said = await heard.get()
            yield ServerSentEventMessage(msgspec.json.encode(said), event=name)
    finally:
        working.cancel()


ROUTES = [write_content]
