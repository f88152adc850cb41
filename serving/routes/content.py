"""Texts about items: what is stored, at once."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get
from litestar.params import QueryParameter

from core.errors import DatabaseUnavailable, InvalidRequest
from core.store.catalogue import Item
from models.content import ITEM_KINDS
from models.content.kind import ContentKind, ItemFacts, house_style
from models.content.review import BY_PEOPLE, SHOWN, stands
from models.content.writer import facts_of
from serving.problems import documented
from serving.routes.items import known_item
from serving.routes.parameters import CONTENT_READ, NO_NUL, ItemId, Kind, Serving
from serving.service import Service, run
from serving.shapes import ContentAnswer

TAGS = ["content"]
Asked = Literal["verified", "approved"]
AskedStatus = Annotated[
    Asked,
    QueryParameter(
        description="`verified` (the default): what the checker or a person let pass. `approved`: only what a person let pass."
    ),
]
WantedLocale = Annotated[
    str | None,
    QueryParameter(
        min_length=1, max_length=35, pattern=NO_NUL, required=False,
        description="Language of the text; by default HEADWATER_CONTENT_LOCALE.",
    ),
]  # fmt: skip


@get(
    "/items/{item_id:str}/content",
    opt=CONTENT_READ,
    responses=documented(404),
    tags=TAGS,
    summary="A text about an item",
)
async def get_content(
    service: Serving,
    item_id: ItemId,
    kind: Kind = "description",
    locale: WantedLocale = None,
    status: AskedStatus = "verified",
) -> ContentAnswer:
    """The stored text where it is still true of the item; else the template's, made on the spot from the item's facts."""
    language = locale or service.settings.content_locale
    return await run(
        service.threads.content, text_of, service, known_item(service, item_id), kind, language, status
    )  # fmt: skip


def text_of(service: Service, item: Item, kind_name: str, locale: str, status: Asked = "verified") -> ContentAnswer:
    """What may be shown as the item's text right now. Postgres being away leaves the template (DESIGN I4)."""
    kind = content_kind(kind_name)
    try:
        found = service.texts.read(service.store.contents.content, item.item, kind.name, locale)
    except DatabaseUnavailable:
        found = None
    stale = False
    if found is not None:
        text, outdated = found
        stands_now = stands(text, outdated, item)
        if stands_now and text.status in (SHOWN if status == "verified" else BY_PEOPLE):
            return ContentAnswer(item.item, kind.name, locale, text.text, text.status, text.origin, text.model, False)
        stale = outdated and not stands_now
    template = kind.fallback(facts_of(item), house_style(service.settings, locale))
    return ContentAnswer(item.item, kind.name, locale, template, "verified", "template", "template", stale)


def content_kind(name: str) -> ContentKind[ItemFacts]:
    """A kind of texts about one item, by name. Raises InvalidRequest naming those there are."""
    if name not in ITEM_KINDS:
        raise InvalidRequest(f"kind: {name!r} is not a kind of text; choose from {', '.join(ITEM_KINDS)}")
    return ITEM_KINDS[name]


ROUTES = [get_content]
