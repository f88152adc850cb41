"""Texts about items: what is stored, at once; and writing one now."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody

from core.errors import DatabaseUnavailable, InvalidRequest
from core.store.catalogue import Item
from models.content import ITEM_KINDS
from models.content.kind import ContentKind, ItemFacts, Style
from models.content.writer import as_content, facts_of, write
from serving.problems import documented
from serving.routes.items import known_item
from serving.routes.parameters import CONTENT_READ, CONTENT_WRITE, ItemId, Kind, Locale, Serving
from serving.service import Service, run
from serving.shapes import ContentAnswer, ContentRequest

TAGS = ["content"]
SHOWN = ("verified", "approved", "edited")
BY_PEOPLE = ("approved", "edited")


@get(
    "/items/{item_id:str}/content",
    opt=CONTENT_READ,
    responses=documented(404),
    tags=TAGS,
    summary="A text about an item",
)
async def get_content(
    service: Serving, item_id: ItemId, kind: Kind = "description", locale: Locale = "en"
) -> ContentAnswer:
    """The stored text where it is still true of the item; else the template's, made on the spot from the item's facts."""
    return await run(service.threads.database, text_of, service, known_item(service, item_id), kind, locale)


@post(
    "/content",
    status_code=200,
    opt=CONTENT_WRITE,
    responses=documented(404),
    tags=TAGS,
    summary="Write a text now",
)
async def write_content(service: Serving, data: JSONBody[ContentRequest]) -> ContentAnswer:
    """Asks the text model if this server has one, checks what it says against the item's facts, and stores it."""
    item, kind = known_item(service, data.item), content_kind(data.kind)
    return await run(service.threads.text, _write, service, item, kind, data.locale)


def text_of(service: Service, item: Item, kind_name: str, locale: str) -> ContentAnswer:
    """What may be shown as the item's text right now. Postgres being away leaves the template (DESIGN I4)."""
    kind = content_kind(kind_name)
    try:
        found = service.texts.read(service.store.contents.content, item.item, kind.name, locale)
    except DatabaseUnavailable:
        found = None
    if found is not None:
        text, outdated = found
        if text.status in SHOWN and (not outdated or text.status in BY_PEOPLE):
            return ContentAnswer(
                item.item, kind.name, locale, text.text, text.status, text.origin, text.model, outdated
            )  # fmt: skip
    stale = found is not None and found[1]
    template = kind.fallback(facts_of(item), Style(locale))
    return ContentAnswer(item.item, kind.name, locale, template, "verified", "template", "template", stale)


def content_kind(name: str) -> ContentKind[ItemFacts]:
    """A kind of texts about one item, by name. Raises InvalidRequest naming those there are."""
    if name not in ITEM_KINDS:
        raise InvalidRequest(f"kind: {name!r} is not a kind of text; choose from {', '.join(ITEM_KINDS)}")
    return ITEM_KINDS[name]


def _write(service: Service, item: Item, kind: ContentKind[ItemFacts], locale: str) -> ContentAnswer:
    written = write(kind, [facts_of(item)], service.generator, Style(locale))[0]
    service.store.contents.save([as_content(written, item, locale)])
    return ContentAnswer(
        item.item, kind.name, locale, written.text, written.status, written.origin, written.model, False
    )  # fmt: skip


ROUTES = [get_content, write_content]
