"""Reasons that are stored: what a model or a person wrote on why one item goes with another, in memory (docs/adr/0023).

A text of the kind `because` is about a pair of items and a kind of event, and about no user: it says "you bought Heat" to whoever
did. It is shown in place of the template's line while it is true of both items as they are now.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from core.store import Store
from core.store.catalogue import Item
from core.store.contents import Content
from models.content.about import BECAUSE, SHOWN, holds, reason_facts
from serving.shapes import Reason

if TYPE_CHECKING:
    from serving.query import Candidates, Query

REFRESH_EVERY_S = 2.0
WISH_EVERY_S = 60.0
WISHED_AT_ONCE = 50
FEWEST_LISTS = 5  # what is shown less often is not worth a text
COUNTED_PAIRS = 50_000  # some 200 bytes each

Pair = tuple[
    str, str, str, str
]  # the item recommended, the one that carried it, what was done with that one, the language


@dataclass(slots=True)
class Said:
    """A stored text, and whether it was true of the two items that it was held against last."""

    text: Content
    words: tuple[str, ...] = ()
    known: tuple[Item | None, Item | None, bool] = (
        None,
        None,
        False,
    )  # one reference: requests come in several threads

    def of(self, item: Item | None, carrier: Item | None) -> bool:
        """Whether it may be said of these. Looked at again only once one of them is another than before."""
        known = self.known
        if known[0] is not item or known[1] is not carrier:
            self.known = known = (item, carrier, _true(self.text, item, carrier, self.words))
        return known[2]


class Shown:
    """How many lists each reason was shown in, where nothing stored was said. Of too many the rarest are forgotten, once a
    minute; until then nothing new is counted: no request does the sorting."""

    def __init__(self) -> None:
        self._lists: dict[Pair, int] = {}
        self._lock = threading.Lock()

    def count(self, pairs: Iterable[Pair]) -> None:
        """One more list for each."""
        with self._lock:
            lists = self._lists
            for pair in pairs:
                if pair in lists or len(lists) < COUNTED_PAIRS:
                    lists[pair] = lists.get(pair, 0) + 1

    def take(self) -> dict[Pair, int]:
        """The reasons that are worth a text, with their lists; the others are counted on."""
        with self._lock:
            counted, self._lists = self._lists, {}
        taken = {pair: lists for pair, lists in _most_shown(counted, WISHED_AT_ONCE) if lists >= FEWEST_LISTS}
        if len(counted) >= COUNTED_PAIRS:
            counted = dict(_most_shown(counted, COUNTED_PAIRS // 2))
        kept = {pair: lists for pair, lists in counted.items() if pair not in taken}
        with self._lock:
            meanwhile, self._lists = self._lists, kept
            for pair, lists in meanwhile.items():
                kept[pair] = kept.get(pair, 0) + lists
        return taken


class ExplainTexts:
    """The stored reasons, as of a moment ago. Thread-safe: one thread refreshes, requests read one reference. `words` are those
    that the house banned; `shown` counts what workers may be asked to write, None where they are to write none."""

    def __init__(self, store: Store, words: tuple[str, ...] = (), shown: Shown | None = None) -> None:
        self._store, self._words, self.shown = store, words, shown
        self._since = 0
        self.now: Mapping[Pair, Said] = {}  # another object whenever something in it changes

    def refresh(self) -> None:
        """Read what was written or decided since the last time. Raises DatabaseUnavailable: what is known stays."""
        horizon = self._store.events.horizon()  # before the read: nothing may slip in between
        changed = self._store.contents.written_since(BECAUSE, self._since)
        if changed:
            said = dict(self.now)
            for text in changed:
                pair = (text.item, text.about.get("item", ""), text.about.get("event", ""), text.locale)
                if text.status in SHOWN:
                    said[pair] = Said(text, self._words)
                else:
                    said.pop(pair, None)
            self.now = said
        self._since = horizon

    def wish(self, most: int) -> int:
        """Have workers asked for the reasons shown most, of which there may be `most`; returns how many. Raises
        DatabaseUnavailable: those that were counted so far are counted anew."""
        taken = self.shown.take() if self.shown is not None else {}
        return self._store.content_requests.wish(taken, most) if taken else 0


def instead(
    query: Query, chosen: Candidates, reasons: Sequence[Reason], shown: Shown | None = None
) -> Sequence[Reason]:  # fmt: skip
    """The reasons, with what is stored where something true is. The first item that a reason names is the one spoken of.

    Those of which nothing is stored are counted in `shown`.
    """
    said = query.said
    if not said and shown is None:
        return reasons
    view, done, locale = query.view, query.done, str(query.style.locale)
    found, missing = list(reasons), []
    for place, (row, reason) in enumerate(zip(chosen.rows.tolist(), reasons, strict=True)):
        if not reason.because:
            continue
        carrier = reason.because[0]
        pair = (view.ids[row], carrier, done.get(carrier, ""), locale)
        text = said.get(pair)
        if text is None:
            missing += [pair] if pair[2] else []  # of what was done nothing may be known
        elif text.of(view.items[row], view.items[view.row_of[carrier]]):
            found[place] = replace(reason, text=text.text.text)
    if shown is not None:
        shown.count(missing)
    return found


def _most_shown(lists: Mapping[Pair, int], most: int) -> list[tuple[Pair, int]]:
    return heapq.nlargest(most, lists.items(), key=lambda one: one[1])


def _true(text: Content, item: Item | None, carrier: Item | None, words: tuple[str, ...]) -> bool:
    if item is None or carrier is None or carrier.removed or carrier.hidden:
        return False
    return holds(text, reason_facts(item, carrier, text.about.get("event", "")), words)
