"""Why an item is in a list: what the model that brought it says carried its score, and a sentence for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.query import Candidates, Query
from serving.shapes import Reason
from serving.sources import TEXT

NAMED = 2  # items of the history named at most

# Of sources that know nothing of the user. {where} is " in <category>" where one was asked for.
TEXTS = {
    "popular": "Popular{where} right now",
    "counts": "Popular{where} right now",
    "trending": "Trending{where} now",
    "latest": "New{where}",
    "given": "In the order given",
    "pinned": "Featured",
    "exploration": "Something else for a change",
}


def explain(query: Query, chosen: Candidates) -> list[Reason]:
    """A reason for each of `chosen`, from the source that it came from."""
    reasons = []
    for source_ix, rows in zip(chosen.source, _because(query, chosen), strict=True):
        source = chosen.sources[source_ix]
        if source in TEXTS:
            reasons.append(plain_reason(query, source))
            continue
        named = _listed([query.view.title(row) for row in rows])
        cause = "Described like" if source == TEXT else "Because of"
        text = f"{cause} {named}" if rows else "Fits what you chose so far"
        reasons.append(Reason([query.view.ids[row] for row in rows], text))
    return reasons


def plain_reason(query: Query, source: str) -> Reason:
    """The reason of a source that knows nothing of the user."""
    return Reason([], TEXTS[source].format(where=f" in {query.ask.category}" if query.ask.category else ""))


def _because(query: Query, chosen: Candidates) -> list[list[int]]:
    """Catalogue rows of the history that carried each of `chosen`, asked of each model once."""
    because: list[list[int]] = [[] for _ in range(len(chosen))]
    for name_ix, name in enumerate(chosen.sources):
        served = query.models.get(name)
        places = np.flatnonzero(chosen.source == name_ix)
        if served is None or name in TEXTS or len(places) == 0:
            continue
        items = served.model_rows(query.view, chosen.rows[places])
        named = served.model.because(query.users(served), items[None, :], NAMED)[0]  # (places, NAMED)
        for place, found in zip(places, named, strict=True):
            because[place] = served.rows[found[found >= 0]].tolist()
    if TEXT in chosen.sources:
        for place in np.flatnonzero(chosen.source == chosen.sources.index(TEXT)):
            because[place] = query.shelf.because(query.view, query.wanted, int(chosen.rows[place]), NAMED)
    return because


def _listed(titles: Sequence[str]) -> str:
    return " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
