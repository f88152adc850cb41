"""Items: their state, what goes with them, and the lists that are the same for everyone."""

from __future__ import annotations

from datetime import UTC, datetime

from litestar import delete, get, put
from litestar.params import JSONBody

from core.errors import NotFound
from core.events import ItemChanged, ItemRemoved
from core.store.catalogue import Item
from serving.lists import listing, similar
from serving.problems import documented
from serving.routes.events import publish
from serving.routes.parameters import EVENTS, READ, Category, Filter, ItemId, Limit, Serving
from serving.service import Service, run
from serving.shapes import Accepted, ItemAnswer, ItemList, ItemState

SOURCE = "/v1/items"
TAGS = ["items"]


@get("/items/{item_id:str}/similar", opt=READ, responses=documented(404), tags=TAGS, summary="Items that go with one")
async def similar_items(
    service: Serving, item_id: ItemId, limit: Limit = 10, category: Category = None, filter: Filter = None
) -> ItemList:
    """By the models that know it; a new item is answered from its categories."""
    return await run(service.threads.pipeline, similar, service.pipeline, item_id, limit, category, filter)


@get("/items/popular", opt=READ, responses=documented(), tags=TAGS, summary="What most people want")
async def popular_items(
    service: Serving, limit: Limit = 10, category: Category = None, filter: Filter = None
) -> ItemList:
    """By the weight of all interactions."""
    return await run(service.threads.pipeline, listing, service.pipeline, "popular", limit, category, filter)


@get("/items/trending", opt=READ, responses=documented(), tags=TAGS, summary="What most people want lately")
async def trending_items(
    service: Serving, limit: Limit = 10, category: Category = None, filter: Filter = None
) -> ItemList:
    """Interactions count half as much after each week."""
    return await run(service.threads.pipeline, listing, service.pipeline, "trending", limit, category, filter)


@get("/items/latest", opt=READ, responses=documented(), tags=TAGS, summary="The newest items")
async def latest_items(
    service: Serving, limit: Limit = 10, category: Category = None, filter: Filter = None
) -> ItemList:
    """By time of publication, else of their last change."""
    return await run(service.threads.pipeline, listing, service.pipeline, "latest", limit, category, filter)


@put(
    "/items/{item_id:str}", status_code=202, opt=EVENTS, responses=documented(413), tags=TAGS,
    summary="Set the whole state of an item",
)  # fmt: skip
async def put_item(service: Serving, item_id: ItemId, data: JSONBody[ItemState]) -> Accepted:
    """Publishes item.changed; visible once ingested."""
    body = ItemChanged(
        item=item_id, title=data.title, description=data.description, categories=tuple(data.categories),
        attributes=data.attributes, available=data.available, hidden=data.hidden, published_at=data.published_at,
        expires_at=data.expires_at, locale=data.locale,
    )  # fmt: skip
    return await publish(service, body, SOURCE)


@get("/items/{item_id:str}", opt=READ, responses=documented(404), tags=TAGS, summary="An item")
async def get_item(service: Serving, item_id: ItemId) -> ItemAnswer:
    """From the catalogue in memory, which is at most about a second behind."""
    item = known_item(service, item_id)
    return ItemAnswer(
        item.item, item.title, item.description, list(item.categories), item.attributes, item.available, item.hidden,
        item.published_at, item.expires_at, item.locale, item.changed_at, item.servable(datetime.now(UTC)),
    )  # fmt: skip


@delete(
    "/items/{item_id:str}", status_code=202, opt=EVENTS, responses=documented(), tags=TAGS, summary="Remove an item"
)
async def delete_item(service: Serving, item_id: ItemId) -> Accepted:
    """Publishes item.removed; a later PUT brings it back."""
    return await publish(service, ItemRemoved(item=item_id), SOURCE)


def known_item(service: Service, item_id: str) -> Item:
    """The item from the catalogue in memory. Raises NotFound for one never heard of, or removed."""
    view = service.catalogue.view
    row = view.row(item_id)
    item = view.items[row] if row >= 0 else None
    if item is None or item.removed:
        raise NotFound(f"there is no item {item_id!r} in the catalogue")
    return item


ROUTES = [similar_items, popular_items, trending_items, latest_items, put_item, get_item, delete_item]
