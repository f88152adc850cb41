"""One request, one page.

history -> sources -> merge -> filters -> rank -> diversify -> backfill -> explore -> pin -> explain -> log slate
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat

import numpy as np

from core.telemetry import FALLBACKS
from models.content.kind import Style
from serving import filters
from serving.again import Answers, Shown
from serving.campaigns import boosted, depth, pinned, pins
from serving.catalogue import LiveCatalogue, Mask
from serving.columns import Columns
from serving.diversity import diversify
from serving.explain import UNKNOWN, explain, plain_reason
from serving.explain_texts import ExplainTexts, instead
from serving.exploration import CERTAIN, Chance, explore
from serving.histories import Histories, Past
from serving.live import LiveModels
from serving.newcomers import Newcomers
from serving.query import ENGLISH, Ask, Candidates, Query
from serving.shapes import Answer, RankAnswer, Reason, Recommended
from serving.slate import Slates
from serving.sources import LADDER, POPULARITY, TEXT, from_models, merge, new_by_text
from serving.stages import Clock, clock

POOL = 4  # candidates asked of each source for every item wanted, so that merging and diversity have a choice
LEAST_POOL = 60


@dataclass(frozen=True)
class Pipeline:
    """What every request works with. Thread-safe: each request takes one view and one set of models and keeps them."""

    catalogue: LiveCatalogue
    models: LiveModels
    newcomers: Newcomers
    histories: Histories
    slates: Slates
    kind_weights: Mapping[str, float]
    explain_texts: ExplainTexts
    columns: Columns = field(default_factory=Columns)
    answers: Answers = field(default_factory=Answers)
    style: Style = ENGLISH

    def recommend(self, ask: Ask, past: Past | None = None, began: float | None = None) -> Answer:
        """Items for a user: personal where a model can be, honest about it where none can (`fallback`).

        `past` is the user's, where it has been read already, since `began` (of time.perf_counter).
        """
        began = began or time.perf_counter()
        stages = clock(began)
        # history: one indexed read, within a budget; and everything else this answer is made from, taken once
        query = self.query(ask, self._past(ask) if past is None else past)
        stages.ended("history", len(query.events))
        # again: what was shown last stands while nothing has changed that it was made from
        shown = self.answers.kept(query)
        if shown is None:
            shown = self._choose(query, stages)
            self.answers.keep(query, shown)
        # log slate: off the request path
        return self._answer(query, shown, stages, began)

    def again(self, ask: Ask, past: Past, began: float) -> Answer | None:
        """The same answer as before, where it stands: cheap enough for the event loop."""
        query = self.query(ask, past)
        shown = self.answers.kept(query)
        if shown is None:
            return None
        stages = clock(began)
        stages.ended("history", len(query.events))
        return self._answer(query, shown, stages, began)

    def _choose(self, query: Query, stages: Clock) -> Shown:
        """What to show: the page from the sources to the reasons."""
        ask = query.ask
        # what every filter allows, so that each source searches inside it
        allowed = filters.allowed(query)
        # what campaigns pin has its place already, so that the rest is searched for in what is left
        held = pins(query, allowed) if ask.pins else []
        for _, row in held:
            allowed[row] = False
        stages.ended("allowed")
        # sources: the blend gives its best, or, where there is none, each model that reads histories
        pool = max(LEAST_POOL, POOL * ask.limit)
        found = from_models(query, allowed, depth(query, pool) if ask.boosts else pool)
        stages.ended("sources", sum(map(len, found)))
        # merge: one list, the better model counting more
        merged = merge(found, query.models)
        stages.ended("merge", len(merged))
        # filters: whatever a source did, nothing passes that may not be shown
        kept = merged.within(allowed)
        stages.ended("filters", len(kept))
        # boost: what campaigns raise or lower, be it as far down as the ladder reaches
        if ask.boosts:
            kept = boosted(query, backfill(query, allowed, kept, depth(query, pool)), pool)
        # rank: by what the merged lists say
        ordered = kept.best_first()
        stages.ended("rank", len(ordered))
        # diversify: the first `limit`, less alike where that is asked for
        chosen = diversify(query, ordered, ask.limit)
        stages.ended("diversify", len(chosen))
        # new items: those that no model could learn of have their share of the places, by what is written about them
        chosen = with_new(query, allowed, chosen)
        # backfill: down the ladder until the list is full
        full = backfill(query, allowed, chosen, ask.limit).first(ask.limit - len(held))
        stages.ended("backfill", len(full))
        # explore: a share of the places is left to chance, whose odds are kept
        drawn, chance = explore(query, allowed, ordered, full)
        # pin: campaigns' items at their places
        shown = pinned(held, drawn)
        stages.ended("explore", len(shown))
        # explain: by the source that brought each item
        reasons = instead(query, shown, explain(query, shown), self.explain_texts.shown) if ask.explain else []
        items = described(query, shown, reasons, chance)
        stages.ended("explain", len(items))
        part = taking_part(shown, found)
        return Shown(items, versions_of(query, part), label(query, part))

    def _answer(self, query: Query, shown: Shown, stages: Clock, began: float) -> Answer:
        slate = self.slates.log(query, shown.items, shown.versions, shown.fallback)
        stages.ended("slate")
        stages.done()
        if shown.fallback is not None:
            FALLBACKS.labels(shown.fallback).inc()
        return Answer(slate, query.ask.user, shown.items, shown.versions, shown.fallback, _took_ms(began))

    def _past(self, ask: Ask) -> Past:
        return Past() if ask.user is None else self.histories.read(ask.user)

    def rank(self, ask: Ask, past: Past | None = None, began: float | None = None) -> RankAnswer:
        """The items of `ask.among` in the user's order. What no model or count can place keeps the order given, at the end."""
        given = dict.fromkeys(ask.among or ())
        answer = self.recommend(ask, past, began)
        view = self.catalogue.view
        placed = {one.item for one in answer.items}
        unknown = plain_reason(self.query(ask, Past()), UNKNOWN)
        strangers = [Recommended(item, 0.0, "given", unknown) for item in given if view.row(item) < 0]
        items = [*answer.items, *(one for one in strangers if one.item not in placed)]
        left_out = [item for item in given if item not in placed and view.row(item) >= 0]
        return RankAnswer(answer.slate, answer.user, items, answer.model, answer.fallback, answer.took_ms, left_out)

    def query(self, ask: Ask, past: Past) -> Query:
        """Everything one answer is made from."""
        shelf, models = (
            self.newcomers.shelf,
            self.models.served,
        )  # before the view: it has a row for every item of theirs
        said = self.explain_texts.now
        style = self.style if ask.locale is None else self.style.to(ask.locale)
        now, weights = datetime.now(UTC), self.kind_weights
        return Query(ask, now, self.catalogue.view, models, past, weights, shelf, self.columns, style, said)


def with_new(query: Query, allowed: Mask, chosen: Candidates) -> Candidates:
    """`chosen` with new items that fit the user spread over their share of the places, scored between their neighbours.

    A list that no model could begin is left to the ladder, and so is one that has to order given items.
    """
    limit, places = query.ask.limit, int(query.ask.limit * query.shelf.share + 0.5)
    if len(chosen) == 0 or places == 0 or query.ask.among is not None:
        return chosen
    new = new_by_text(query, allowed, limit)
    if len(new):
        have = set(chosen.rows.tolist())
        new = new[np.array([row not in have for row in new.rows.tolist()])][:places]
    return chosen.having(new, [int((at + 0.5) * limit / places - 0.5) for at in range(len(new))]).first(limit)


def backfill(query: Query, allowed: Mask, chosen: Candidates, k: int) -> Candidates:
    """`chosen`, filled up to k by the ladder: by text, popular, counted, latest."""
    for source in LADDER:
        if len(chosen) >= k:
            break
        chosen = chosen.then(source(query, allowed, k + len(chosen)))[:k]
    return chosen


def described(
    query: Query, chosen: Candidates, reasons: Sequence[Reason], chance: Chance = CERTAIN
) -> list[Recommended]:
    """The candidates as they go out, each with its reason where there are any."""
    names = [(name, round(chance.of(name), 6)) for name in chosen.sources]
    columns = (chosen.rows.tolist(), chosen.scores.tolist(), chosen.source.tolist())
    lines, ids = zip(*columns, reasons or repeat(None), strict=False), query.view.ids
    return [
        Recommended(ids[row], round(score, 4), names[source][0], reason, names[source][1])
        for row, score, source, reason in lines
    ]


def taking_part(chosen: Candidates, found: Sequence[Candidates] = ()) -> set[str]:
    """Names of the sources that brought items of the list, and of the models in `found` that spoke for any of them."""
    shown = set(chosen.rows.tolist())
    brought = {chosen.sources[source] for source in set(chosen.source.tolist())}
    others = [one for one in found if one.sources[0] not in brought]
    return brought | {one.sources[0] for one in others if not shown.isdisjoint(one.rows.tolist())}


def label(query: Query, part: Set[str]) -> str | None:
    """The best step of the ladder that took part; null for a personal model."""
    models = [query.models[name] for name in part if name in query.models]
    if (models or TEXT in part) and not query.past.known:
        return "session"
    if any(served.personal for served in models):
        return None
    if models or TEXT in part:
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
