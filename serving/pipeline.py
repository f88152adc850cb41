"""One request, one page.

history -> sources -> merge -> filters -> rank -> diversify -> backfill -> explain -> log slate
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat

import numpy as np

from core.telemetry import FALLBACKS
from serving import filters
from serving.catalogue import LiveCatalogue, Mask
from serving.diversity import diversify
from serving.explain import explain
from serving.histories import Histories, Past
from serving.live import LiveModels
from serving.query import Ask, Candidates, Query
from serving.shapes import Answer, RankAnswer, Reason, Recommended
from serving.slate import Slates
from serving.sources import LADDER, POPULARITY, from_models, merge

POOL = 4  # candidates asked of each source for every item wanted, so that merging and diversity have a choice
LEAST_POOL = 60


@dataclass(frozen=True)
class Pipeline:
    """What every request works with. Thread-safe: each request takes one view and one set of models and keeps them."""

    catalogue: LiveCatalogue
    models: LiveModels
    histories: Histories
    slates: Slates
    kind_weights: Mapping[str, float]

    def recommend(self, ask: Ask) -> Answer:
        """Items for a user: personal where a model can be, honest about it where none can (`fallback`)."""
        began = time.perf_counter()
        # history: one indexed read, within a budget; and everything else this answer is made from, taken once
        query = self.query(ask, self.histories.read(ask.user) if ask.user is not None else Past())
        # what every filter allows, so that each source searches inside it
        allowed = filters.allowed(query)
        # sources: the blend gives its best, or, where there is none, each model that reads histories
        found = from_models(query, allowed, max(LEAST_POOL, POOL * ask.limit))
        # merge: one list, the better model counting more
        merged = merge(found, query.models)
        # filters: whatever a source did, nothing passes that may not be shown
        kept = merged[merged.at(allowed)]
        # rank: by what the merged lists say
        ordered = kept[np.argsort(-kept.scores, kind="stable")]
        # diversify: the first `limit`, less alike where that is asked for
        chosen = diversify(query, ordered, ask.limit)
        # backfill: down the ladder until the list is full
        full = backfill(query, allowed, chosen)
        # explain: by the source that brought each item
        items = described(query, full, explain(query, full) if ask.explain else [])
        # log slate: off the request path
        part = taking_part(full, found)
        fallback, versions = label(query, part), versions_of(query, part)
        slate = self.slates.log(query, items, versions, fallback)
        if fallback is not None:
            FALLBACKS.labels(fallback).inc()
        return Answer(slate, ask.user, items, versions, fallback, _took_ms(began))

    def rank(self, ask: Ask) -> RankAnswer:
        """The items of `ask.among` in the user's order. What no model or count can place keeps the order given, at the end."""
        given = dict.fromkeys(ask.among or ())
        answer = self.recommend(ask)
        view = self.catalogue.view
        placed = {one.item for one in answer.items}
        strangers = [
            Recommended(item, 0.0, "given", Reason([], "Not known here")) for item in given if view.row(item) < 0
        ]
        items = [*answer.items, *(one for one in strangers if one.item not in placed)]
        left_out = [item for item in given if item not in placed and view.row(item) >= 0]
        return RankAnswer(answer.slate, answer.user, items, answer.model, answer.fallback, answer.took_ms, left_out)

    def query(self, ask: Ask, past: Past) -> Query:
        """Everything one answer is made from."""
        models = self.models.served  # before the view, which then has a row for every item of theirs
        return Query(ask, datetime.now(UTC), self.catalogue.view, models, past, self.kind_weights)


def backfill(query: Query, allowed: Mask, chosen: Candidates) -> Candidates:
    """`chosen`, filled up to the limit by the ladder: popular, counted, latest."""
    for source in LADDER:
        if len(chosen) >= query.ask.limit:
            break
        chosen = chosen.then(source(query, allowed, query.ask.limit + len(chosen)))[: query.ask.limit]
    return chosen


def described(query: Query, chosen: Candidates, reasons: Sequence[Reason]) -> list[Recommended]:
    """The candidates as they go out, each with its reason where there are any."""
    lines = zip(chosen.rows, chosen.scores, chosen.source, reasons or repeat(None), strict=False)
    return [
        Recommended(query.view.ids[row], round(float(score), 4), chosen.sources[source], reason)
        for row, score, source, reason in lines
    ]


def taking_part(chosen: Candidates, found: Sequence[Candidates] = ()) -> set[str]:
    """Names of the sources that brought items of the list, and of the models in `found` that spoke for any of them."""
    brought = {chosen.sources[source] for source in chosen.source}
    return brought | {one.sources[0] for one in found if np.isin(one.rows, chosen.rows).any()}


def label(query: Query, part: Set[str]) -> str | None:
    """The best step of the ladder that took part; null for a personal model."""
    models = [query.models[name] for name in part if name in query.models]
    if models and not query.past.known:
        return "session"
    if any(served.personal for served in models):
        return None
    if models:
        return "item-item"
    return "popular" if part & {"popular", "counts", "trending"} else "static"


def versions_of(query: Query, part: Set[str]) -> dict[str, str]:
    """Which version of each model took part, those that a blend asks included."""
    names = {POPULARITY if name in ("popular", "trending") else name for name in part}
    labels: dict[str, str] = {}
    for name, served in query.models.items():
        labels |= served.labels if name in names else {}
    return labels


def _took_ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)
