"""Why an item is in a list: what the model that brought it says carried its score, and a sentence for people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from models.content import titles
from models.content.banned import said
from models.content.because import line
from models.content.language import base
from serving.query import Candidates, Query
from serving.shapes import Reason
from serving.sources import TEXT

UNKNOWN = ""  # the source of an item that is not in the catalogue
NAMED = 2  # items of the history named at most
KEPT_NAMES = 200_000  # cleaned titles, some 200 bytes each

# Of sources that know nothing of the user, by language. {where} is " in <category>" where one was asked for.
TEXTS = {
    "en": {
        "popular": "Popular{where} right now", "counts": "Popular{where} right now", "trending": "Trending{where} now",
        "latest": "New{where}", "given": "In the order given", "pinned": "Featured",
        "exploration": "Something else for a change", UNKNOWN: "Not known here",
    },
    "de": {
        "popular": "Zurzeit beliebt{where}", "counts": "Zurzeit beliebt{where}", "trending": "Im Trend{where}",
        "latest": "Neu{where}", "given": "In der gegebenen Reihenfolge", "pinned": "Empfehlung des Hauses",
        "exploration": "Einmal etwas anderes", UNKNOWN: "Hier nicht bekannt",
    },
}  # fmt: skip
PLAIN = frozenset(TEXTS["en"])
_Told = tuple[str, str, str]  # of an item of the history: its id, the kind of what was done with it, its name
NO_WORDS = "–"  # in a language that nothing is written in here, as in the templates of models/content


def explain(query: Query, chosen: Candidates) -> list[Reason]:
    """A reason for each of `chosen`, from the source that it came from."""
    made: dict[object, Reason] = {}  # many of a list share theirs
    told: dict[int, _Told] = {}
    reasons = []
    for source_ix, rows in zip(chosen.source.tolist(), _because(query, chosen), strict=True):
        source = chosen.sources[source_ix]
        key = source if source in PLAIN else tuple(rows)
        if key not in made:
            made[key] = plain_reason(query, source) if source in PLAIN else _reason(query, rows, told)
        reasons.append(made[key])
    return reasons


def _reason(query: Query, rows: Sequence[int], told: dict[int, _Told]) -> Reason:
    """Because of these catalogue rows of the history, maybe none: the line of the kind `because` (models/content/because.py)
    says what the user did with them. A title that may not be shown is not named. What is `told` of a row is kept there."""
    because: list[str] = []
    names: list[str] = []
    event = ""
    for row in rows:
        known = told.get(row)
        if known is None:
            item = query.view.ids[row]
            known = told[row] = item, query.done.get(item, ""), name_of(query, row)
        item, kind, name = known
        because.append(item)
        if name and (kind == event or not names):
            event = kind
            names.append(name)
    return Reason(because, line(tuple(names), event, query.style))


def name_of(query: Query, row: int) -> str:
    """What a sentence may call an item, "" for one whose title cannot be shown."""
    item = query.view.items[row]
    return "" if item is None else _shown(item.title, "year" in item.attributes)


@lru_cache(KEPT_NAMES)
def _shown(title: str, dated: bool) -> str:
    return next(iter(titles.names(title, dated)), "")


def plain_reason(query: Query, source: str) -> Reason:
    """The reason of a source that knows nothing of the user."""
    text = TEXTS.get(base(str(query.style.locale)), {}).get(source, NO_WORDS)
    where = f" in {query.ask.category}" if query.ask.category else ""
    return Reason([], NO_WORDS if said(text, (), query.style.banned) else text.format(where=where))


def _because(query: Query, chosen: Candidates) -> list[list[int]]:
    """Catalogue rows of the history that carried each of `chosen`, asked of each model once."""
    because: list[list[int]] = [[] for _ in range(len(chosen))]
    for name_ix, name in enumerate(chosen.sources):
        served = query.models.get(name)
        if name in PLAIN or (served is None and name != TEXT):  # TEXT is the name of no model
            continue
        places = (chosen.source == name_ix).nonzero()[0]
        if not len(places):
            continue
        rows = chosen.rows.take(places)
        if served is None:
            named = query.shelf.because(query.view, query.timeline, rows, NAMED)
        else:
            own = served.model.because(query.users(served), served.own.take(rows)[None, :], NAMED)[0]  # it knows them
            named = np.where(own < 0, own, served.rows.take(own))
        for place, found in zip(places.tolist(), named.tolist(), strict=True):
            while found and found[-1] < 0:  # of (places, NAMED), -1 comes last
                found.pop()
            because[place] = found
    return because
