"""New items: what no live model was trained on yet is offered by what is written about it, to those who chose its like.

The shelf of such items is made anew beside the requests whenever the catalogue or the live models change; requests read
one reference. An item leaves it with the next training that has seen someone choose it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.telemetry import NEW_ITEMS
from features.history import Timeline
from models.popularity import Popularity
from models.text_vectors import NO_VECTOR, Chosen, Rarity, TextIndex, Texts, carriers
from serving.catalogue import NO_ROWS, LiveCatalogue, Mask, Rows, View
from serving.items import Items
from serving.live import LiveModels

SHELVED_EVERY_S = 0.25
MOST_NEW = 2_500  # new items on the shelf, the newest of them: what comparing with them costs grows with their number
SAMPLED_TEXTS = 20_000  # texts at most that say how rare a word is
GROWN = 1.5  # rarity is counted anew when the catalogue has become so many times larger
KEPT_VECTORS = 50_000
READ = 20  # items of a history at most that are compared
RECENCY = 0.9  # each counts so much of the one after it

NOBODY: Mask = np.zeros(0, bool)
Alike = tuple[Rows, NDArray[np.float32]]
Found = TypeVar("Found")


class _Kept(NamedTuple):
    """Text vectors of what `items` held after so many `changes`: that of row r is text `slots`[r] of `texts`, -1 for none."""

    items: Items
    changes: int
    slots: Rows
    texts: Texts


class Vectors:
    """Text vectors of catalogue items, made when first asked for. Thread-safe."""

    def __init__(self, rarity: Rarity) -> None:
        self._rarity = rarity
        self._lock = threading.Lock()  # of whoever makes some
        self._kept = _Kept(Items(), 0, NO_ROWS, Texts.room(0))
        self._made = 0

    def kept(self, view: View) -> _Kept:
        """What there is of the items as `view` has them now."""
        kept = self._kept
        if kept.items is view.items and kept.changes == view.items.changes:
            return kept
        with self._lock:
            return self._renewed(view.items)

    def made(self, view: View, rows: Iterable[int]) -> _Kept:
        """The same with a text for each of these rows; an empty one where the catalogue does not describe the item."""
        distinct = list(dict.fromkeys(rows))
        with self._lock:
            kept = self._renewed(view.items)
            missing = [row for row in distinct if kept.slots[row] < 0]
            if self._made + len(missing) > KEPT_VECTORS:
                kept, missing = self._emptied(view.items), distinct
            for slot, row in enumerate(missing, self._made):
                item = view.items[row]
                kept.texts.put(slot, NO_VECTOR if item is None else self._rarity.vector(item.text))
                kept.slots[row] = slot
            self._made += len(missing)
            return kept

    def texts(self, view: View, rows: Sequence[int]) -> Texts:
        """What is written about each of these rows."""
        kept = self.kept(view)
        while (at := kept.slots.take(rows)).min(initial=0) < 0:
            kept = self.made(view, rows)
        return kept.texts.take(at)

    def _renewed(self, items: Items) -> _Kept:
        """With the lock held: without what has changed since, and with room for what was added."""
        kept, changes = self._kept, items.changes
        if kept.items is not items:
            return self._emptied(items)
        if len(kept.slots) < len(items):
            kept = self._kept = kept._replace(slots=np.append(kept.slots, _no_slots(len(items) - len(kept.slots))))
        if kept.changes != changes:
            changed = items.changed_since(kept.changes)
            kept.slots[changed[changed < len(kept.slots)]] = -1  # what was added meanwhile has none yet
            kept = self._kept = kept._replace(changes=changes)
        return kept

    def _emptied(self, items: Items) -> _Kept:
        """With the lock held. The room is for good, so that no slot is beyond that of whoever reads; the system gives it page by
        page, as it is filled."""
        self._made = 0
        self._kept = _Kept(items, items.changes, _no_slots(len(items)), Texts.room(KEPT_VECTORS))
        return self._kept


def _no_slots(n: int) -> Rows:
    return np.full(n, -1, np.int32)


@dataclass(frozen=True)
class Shelf:
    """n items by text. `new` (n,) are those that no live model was trained on, the others what most people want; `share` of a
    list's places is theirs where they are at least `least` like what the user did."""

    vectors: Vectors
    index: TextIndex = field(default_factory=lambda: TextIndex.of(NO_ROWS, []))
    new: Mask = field(default_factory=NOBODY.copy)
    share: float = 0.0
    least: float = 1.0

    def __len__(self) -> int:
        return len(self.index)

    def alike(self, view: View, done: Timeline, allowed: Mask, only_new: bool, k: int) -> Alike:
        """The best k of what is allowed (catalogue rows) and like what was chosen, by what is written about it, and how much
        (at most k,) float32."""
        only = self.new if only_new else NOBODY
        return self._compared(
            view, done, NO_ROWS,
            lambda chosen, kept: self.index.best(chosen, kept.slots, kept.texts, allowed, only, self.least, k),
        )  # fmt: skip

    def because(self, view: View, done: Timeline, rows: Rows, limit: int) -> Rows:
        """The catalogue rows of what was chosen that make each of `rows` (m,) likely, by their share of the cosine: (m, limit),
        padded with -1."""
        return self._compared(
            view, done, rows, lambda chosen, kept: carriers(chosen, kept.slots, kept.texts, rows, limit)
        )

    def _compared(
        self, view: View, done: Timeline, rows: Rows, compare: Callable[[Chosen, _Kept], Found | None]
    ) -> Found:
        """What comes of comparing what was chosen, with these rows maybe: None where a text of theirs is not made yet."""
        chosen, kept = Chosen(done.rows, done.weights, len(view), READ, RECENCY), self.vectors.kept(view)
        while (found := compare(chosen, kept)) is None:
            kept = self.vectors.made(view, [*_newest(chosen), *rows.tolist()])
        return found


def _newest(chosen: Chosen) -> list[int]:
    """The rows of the items that count."""
    counting = (chosen.rows >= 0) & (chosen.rows < chosen.n) & (chosen.weights > 0)
    return list(dict.fromkeys(chosen.rows[counting].tolist()))[: chosen.read]


NO_SHELF = Shelf(Vectors(Rarity.of([])))


class Newcomers:
    """Keeps the `shelf`. One thread refreshes it, requests read one reference."""

    def __init__(self, catalogue: LiveCatalogue, models: LiveModels, share: float, least: float) -> None:
        self._catalogue, self._models = catalogue, models
        self._share, self._least = share, least
        self._made_of: tuple[object, object] = (None, None)
        self._counted = 0  # described items when rarity was counted last
        self._vectors = NO_SHELF.vectors
        self.shelf = NO_SHELF

    def refresh(self) -> None:
        """Fill the shelf anew if the catalogue or the live models have changed."""
        made_of = (self._models.served, self._catalogue.view)  # models first: the view then has their items' rows
        if all(one is other for one, other in zip(made_of, self._made_of, strict=True)):
            return
        view = made_of[1]
        described = np.isfinite(view.fresh_s) & view.shown
        new = np.flatnonzero(described & ~self._trained(len(view)))
        NEW_ITEMS.set(len(new))
        self.shelf = self._filled(view, described, new) if self._share and len(new) else NO_SHELF
        self._made_of = made_of

    def _trained(self, n: int) -> Mask:
        """(n,): what a live model that reads histories was trained on."""
        served = [one for one in self._models.served.values() if not isinstance(one.model, Popularity)]
        trained = np.zeros(n, bool)
        for one in served:
            trained[one.trained_rows[one.trained_rows < n]] = True
        return trained

    def _filled(self, view: View, described: Mask, new: NDArray[np.int64]) -> Shelf:
        self._count(view, np.flatnonzero(described))
        if len(new) > MOST_NEW:
            new = new[np.argpartition(-view.fresh_s[new], MOST_NEW)[:MOST_NEW]]
        newest = new[np.argsort(-view.fresh_s[new], kind="stable")]
        wanted = view.counted[described[view.counted]]
        rows = np.concatenate([newest, np.setdiff1d(wanted, newest)]).astype(np.int32)
        texts = self._vectors.texts(view, rows.tolist())
        index = TextIndex.of(rows, [texts.vector(at) for at in range(len(rows))])
        return Shelf(self._vectors, index, np.arange(len(rows)) < len(newest), self._share, self._least)

    def _count(self, view: View, described: NDArray[np.int64]) -> None:
        """Count how rare words are, where that was never done or the catalogue has outgrown it."""
        if len(described) > GROWN * self._counted:
            sample = described[:: -(-len(described) // SAMPLED_TEXTS)].tolist()
            items = [item for row in sample if (item := view.items[row]) is not None]
            self._vectors = Vectors(Rarity.of([item.text for item in items]))
            self._counted = len(described)
