"""Reasons that are stored: what a model or a person wrote on why one item goes with another, in memory (docs/adr/0023).

A text of the kind `because` is about a pair of items and a kind of event, and about no user: it says "you bought Heat" to whoever
did. It is shown in place of the template's line while it is true of both items as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

Pair = tuple[
    str, str, str, str
]  # the item recommended, the one that carried it, what was done with that one, the language


@dataclass(slots=True)
class Said:
    """A stored text, and whether it was true of the two items that it was held against last."""

    text: Content
    known: tuple[Item | None, Item | None, bool] = (
        None,
        None,
        False,
    )  # one reference: requests come in several threads

    def of(self, item: Item | None, carrier: Item | None) -> bool:
        """Whether it may be said of these. Looked at again only once one of them is another than before."""
        known = self.known
        if known[0] is not item or known[1] is not carrier:
            self.known = known = (item, carrier, _true(self.text, item, carrier))
        return known[2]


class ExplainTexts:
    """The stored reasons, as of a moment ago. Thread-safe: one thread refreshes, requests read one reference."""

    def __init__(self, store: Store) -> None:
        self._store = store
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
                    said[pair] = Said(text)
                else:
                    said.pop(pair, None)
            self.now = said
        self._since = horizon


def instead(query: Query, chosen: Candidates, reasons: Sequence[Reason]) -> Sequence[Reason]:
    """The reasons, with what is stored where something true is. The first item that a reason names is the one spoken of."""
    said = query.said
    if not said:
        return reasons
    view, done, locale = query.view, query.done, str(query.style.locale)
    found = list(reasons)
    for place, (row, reason) in enumerate(zip(chosen.rows.tolist(), reasons, strict=True)):
        if not reason.because:
            continue
        carrier = reason.because[0]
        text = said.get((view.ids[row], carrier, done.get(carrier, ""), locale))
        if text is not None and text.of(view.items[row], view.items[view.row_of[carrier]]):
            found[place] = replace(reason, text=text.text.text)
    return found


def _true(text: Content, item: Item | None, carrier: Item | None) -> bool:
    if item is None or carrier is None or carrier.removed or carrier.hidden:
        return False
    return holds(text, reason_facts(item, carrier, text.about.get("event", "")))
