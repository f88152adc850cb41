"""Lists that are the same for everyone: items like one, popular, trending and latest items."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np

from core.errors import NotFound
from models.content.language import base
from serving import filters
from serving.catalogue import NO_ROWS, Mask
from serving.explain import NO_WORDS, PLAIN, explain, name_of, plain_reason
from serving.expression import parse
from serving.histories import Past
from serving.pipeline import LEAST_POOL, POOL, Pipeline, backfill, described, label, taking_part, versions_of
from serving.query import Ask, Candidates, Query
from serving.shapes import ItemList, Reason
from serving.sources import latest, merge, popular, ranked, trending, turns

Listing = Literal["popular", "trending", "latest"]


def listing(pipeline: Pipeline, kind: Listing, limit: int, category: str | None, wanted: str | None = None) -> ItemList:
    """Popular, trending or latest items. Where no model can say, the next step of the ladder does, and `fallback` says so.

    Raises InvalidRequest when the filter `wanted` cannot be read.
    """
    began = time.perf_counter()
    query = pipeline.query(Ask(limit=limit, category=category, filter=parse(wanted) if wanted else None), Past())
    allowed = filters.allowed(query)
    first = {"popular": popular, "trending": trending, "latest": latest}[kind](query, allowed, limit)
    full = backfill(query, allowed, first, limit)
    part = taking_part(full)
    fallback = None if len(first) else label(query, part)
    took_ms = round((time.perf_counter() - began) * 1000, 2)
    return ItemList(described(query, full, explain(query, full)), versions_of(query, part), fallback, took_ms)


def similar(pipeline: Pipeline, item: str, limit: int, category: str | None, wanted: str | None = None) -> ItemList:
    """Items that go with one, by every model that knows it; filled up from its categories and then by popularity.

    Raises NotFound for an item that neither the catalogue nor a model has heard of, InvalidRequest when the filter `wanted`
    cannot be read.
    """
    began = time.perf_counter()
    query = pipeline.query(Ask(limit=limit, category=category, filter=parse(wanted) if wanted else None), Past())
    row = query.view.row(item)
    if row < 0:
        raise NotFound(f"there is no item {item!r}")
    allowed = filters.allowed(query)
    allowed[row] = False
    found = _neighbours(query, row, ~allowed, max(LEAST_POOL, POOL * limit))
    merged = merge(found, query.models)
    close = merged[np.argsort(-merged.scores, kind="stable")][:limit]
    full = backfill(query, allowed, _same_category(query, row, allowed, close), limit)
    part = taking_part(full, found)
    fallback = None if len(close) else label(query, part)
    reasons = [_reason(query, row, full.sources[source]) for source in full.source]
    items = described(query, full, reasons)
    return ItemList(items, versions_of(query, part), fallback, round((time.perf_counter() - began) * 1000, 2))


def _neighbours(query: Query, row: int, exclude: Mask, k: int) -> list[Candidates]:
    for names in turns(query.models):
        lists = []
        for name in names:
            served = query.models[name]
            item_ix = served.own_rows(np.array([row], np.int32))
            if item_ix[0] >= 0:
                found, _ = served.model.similar(item_ix, k, exclude[served.rows])
                lists.append(ranked(name, served.rows[found[0][found[0] >= 0]]))
        if any(map(len, lists)):
            return [one for one in lists if len(one)]
    return []


def _same_category(query: Query, row: int, allowed: Mask, close: Candidates) -> Candidates:
    """`close`, filled up with the most popular of the item's own categories."""
    item = query.view.items[row]
    mates = [query.view.categories.get(category, NO_ROWS) for category in (item.categories if item else ())]
    same = np.zeros_like(allowed)
    same[np.concatenate([*mates, NO_ROWS])] = True
    return backfill(query, allowed & same, close, query.ask.limit)


CHOSEN = {
    "en": {"people": "Chosen by those who chose {name}", "sequence": "Often chosen after {name}", "": "Goes with it"},
    "de": {
        "people": "Auch von denen gewählt, die {name} gewählt haben",
        "sequence": "Oft nach {name} gewählt",
        "": "Passt dazu",
    },
}


def _reason(query: Query, row: int, source: str) -> Reason:
    if source in PLAIN:
        return plain_reason(query, source)
    name, said = name_of(query, row), CHOSEN.get(base(str(query.style.locale)), {})
    how = "people" if query.models[source].personal else "sequence"
    text = said.get(how if name else "", NO_WORDS)
    return Reason([query.view.ids[row]], text.format(name=name))
