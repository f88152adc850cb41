"""Texts about items: what is stored, at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import get
from litestar.params import QueryParameter

from core.errors import DatabaseUnavailable, InvalidRequest
from core.store.catalogue import Item
from core.store.contents import Content
from models.content.about import BY_PEOPLE, OF, OF_ITEM, SHOWN, facts_about, shown_or_template, stands
from models.content.banned import banned
from models.content.kind import ContentKind, house_style
from models.content.prompting import prompt_hash
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
Of = Annotated[
    Literal["description", "headline"] | None,
    QueryParameter(required=False, description="Of a `translation`: which text, into the language `locale`."),
]


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
    of: Of = None,
) -> ContentAnswer:
    """The stored text where it is still true of the item; else the template's, made on the spot from the item's facts.

    `description`, `headline`, a `translation` of either, a `review_summary` of what the item's attribute `reviews` lists, and the
    `theme` of a collection, an item whose attribute `items` lists others (404 for any other item). `stale`: the template speaks
    because the stored text is not true any more, or that text is shown until one from today's prompt and style is written.
    """
    language = locale or service.settings.content_locale
    if kind == "translation" or of is not None:
        if of is None or kind != "translation":
            raise InvalidRequest(
                "of: it says what a `translation` is of, description or headline: give both or neither"
            )
        kind = OF + of
    return await run(
        service.threads.content, text_of, service, known_item(service, item_id), kind, language, status
    )  # fmt: skip


def text_of(service: Service, item: Item, kind_name: str, locale: str, status: Asked = "verified") -> ContentAnswer:
    """What may be shown as the item's text right now. Postgres being away leaves the template (DESIGN I4)."""
    kind, style, around = content_kind(kind_name), house_style(service.settings, locale), InMemory(service)
    facts = facts_about(kind_name, item, locale, around)
    found, stale = around.stored(item.item, kind_name, locale), False
    if found is not None:
        text, outdated = found
        stands_now = stands(text, outdated, item, around, style.banned)
        if stands_now and text.status in (SHOWN if status == "verified" else BY_PEOPLE):
            older = text.origin == "model" and text.prompt_hash != prompt_hash(kind, style)
            return ContentAnswer(item.item, kind_name, locale, text.text, text.status, text.origin, text.model, older)
        stale = text.status in SHOWN and not stands_now
    template = kind.fallback(facts, style)
    if banned(template, facts, style.banned):  # nothing is said rather than that
        return ContentAnswer(item.item, kind_name, locale, "", "rejected", "template", "template", stale)
    return ContentAnswer(item.item, kind_name, locale, template, "verified", "template", "template", stale)


class InMemory:
    """What is around an item, from the catalogue in memory; texts to translate from Postgres, which may be away (see
    models/content/about.py)."""

    def __init__(self, service: Service) -> None:
        self._service, self._view = service, service.catalogue.view

    def item(self, item: str) -> Item | None:
        """See Around."""
        row = self._view.row(item)
        return self._view.items[row] if row >= 0 else None

    def text(self, item: Item, kind: str) -> str:
        """See Around."""
        return shown_or_template(self.stored(item.item, kind, item.locale), item, kind, self)

    def stored(self, item: str, kind: str, locale: str) -> tuple[Content, bool] | None:
        """The stored text and whether its item changed since; None where there is none, or Postgres is away."""
        try:
            return self._service.texts.read(self._service.store.contents.content, item, kind, locale)
        except DatabaseUnavailable:
            return None


def content_kind(name: str) -> ContentKind[Any]:
    """A kind of texts about one item, by the name that it is kept under. Raises InvalidRequest naming those there are."""
    if name not in OF_ITEM:
        raise InvalidRequest(f"kind: {name!r} is not a kind of text about an item; choose from {', '.join(OF_ITEM)}")
    return OF_ITEM[name]


ROUTES = [get_content]
