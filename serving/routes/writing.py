"""Writing a text now, of every kind: answered when it is verified, or told as events while it is written (docs/adr/0022)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.params import JSONBody
from litestar.response import ServerSentEvent, ServerSentEventMessage

from core.errors import DatabaseUnavailable, HeadwaterError, InvalidRequest
from core.store.catalogue import Item
from core.store.contents import ContentStore
from models.content import ITEM_KINDS
from models.content.kind import ContentKind, Facts, Style, house_style
from models.content.writer import Written, as_content, facts_of
from serving.asked import facts_asked, kind_asked, style_asked
from serving.desk import Hear
from serving.problems import documented
from serving.routes.content import TAGS
from serving.routes.items import known_item
from serving.routes.parameters import CONTENT_WRITE, Serving
from serving.service import Service, run
from serving.text_shapes import ContentRequest, WrittenAnswer

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
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
    `written` with what it would have answered, or `failed`. A text about one item alone, in the namespace's style, is stored.
    """
    kind = kind_asked(data)
    style = style_asked(data, service.settings)
    about = known_item(service, str(data.item)) if data.kind in ITEM_KINDS else None
    facts = facts_asked(data, style, lambda item: facts_of(known_item(service, item)))
    answer = partial(_answer, service, kind, facts, style, _deadline_s(service, data), about)
    if data.stream or EVENT_STREAM in request.headers.get("accept", ""):
        return cast("Response[WrittenAnswer]", ServerSentEvent(_events(answer), status_code=200))
    return Response(await answer())


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
    about: Item | None,
    *hear: Hear,
) -> WrittenAnswer:
    written = await service.desk.write(kind, facts, style, deadline_s, *hear)
    stored = False
    if about is not None and style.key == house_style(service.settings).key:  # else it is one caller's
        with suppress(DatabaseUnavailable):  # the answer says that it is not stored
            stored = await run(service.threads.database, _store, service.store.contents, written, about)
    return WrittenAnswer(
        written.item, kind.name, written.locale, written.text, written.status, written.origin, written.model, False,
        written.note, written.attempts, stored,
    )  # fmt: skip


def _store(contents: ContentStore, written: Written, about: Item) -> bool:
    """Keep a text for everyone. A template's, which can be made at any time, never takes the place of a model's."""
    content = as_content(written, about, written.locale)
    if written.origin == "template":
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
