"""New items: what no live model was trained on yet is offered by what is written about it, to those who chose its like.

The shelf of such items is made anew beside the requests whenever the catalogue or the live models change; requests read
one reference. An item leaves it with the next training that has seen someone choose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.store.catalogue import Item
from core.telemetry import NEW_ITEMS
from models.popularity import Popularity
from models.text_vectors import NO_VECTOR, Rarity, TextIndex, Texts, TextVector, cosines, mean
from serving.catalogue import NO_ROWS, LiveCatalogue, Mask, Rows, View
from serving.live import LiveModels

SHELVED_EVERY_S = 0.25
MOST_NEW = 2_500  # new items on the shelf, the newest of them: what comparing with them costs grows with their number
SAMPLED_TEXTS = 20_000  # texts at most that say how rare a word is
GROWN = 1.5  # rarity is counted anew when the catalogue has become so many times larger
KEPT_VECTORS = 50_000
READ = 20  # items of a history at most that are compared
RECENCY = 0.9  # each counts so much of the one after it

Wanted = Sequence[tuple[int, float]]  # catalogue rows of what a user wanted, newest first, and how much


class Vectors:
    """Text vectors of catalogue items, made when first asked for. Thread-safe: at worst one is made twice."""

    def __init__(self, rarity: Rarity) -> None:
        self._rarity = rarity
        self._made: dict[int, tuple[Item, TextVector]] = {}

    def of(self, view: View, row: int) -> TextVector:
        """The vector of an item as `view` has it; empty where the catalogue does not describe it."""
        item = view.items[row]
        if item is None:
            return NO_VECTOR
        made = self._made.get(row)
        if made is not None and made[0] is item:
            return made[1]
        vector = self._rarity.vector(item.text)
        if len(self._made) >= KEPT_VECTORS:
            self._made = {}
        self._made[row] = (item, vector)
        return vector


@dataclass(frozen=True)
class Shelf:
    """n items by text. `rows` (n,) are catalogue rows; `new` (n,) those that no live model was trained on, the others what
    most people want; `share` of a list's places is theirs where they are at least `least` like what the user did."""

    vectors: Vectors
    rows: Rows = field(default_factory=NO_ROWS.copy)
    new: Mask = field(default_factory=lambda: np.zeros(0, bool))
    index: TextIndex = field(default_factory=lambda: TextIndex.of([]))
    share: float = 0.0
    least: float = 1.0

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, view: View, wanted: Wanted) -> Texts:
        """What is written about each of what was wanted."""
        return Texts.of([self.vectors.of(view, row) for row, _ in wanted])

    def likeness(self, texts: Texts, wanted: Wanted) -> NDArray[np.float32]:
        """(n,) float32: the cosine of each with what was wanted, of which that is written, together."""
        return self.index.cosines(mean(texts, [weight for _, weight in wanted]))

    def because(self, view: View, texts: Texts, wanted: Wanted, row: int, limit: int) -> list[int]:
        """The rows of what was wanted that make `row` likely, by their share of the cosine, at most `limit`."""
        alike = cosines(texts, self.vectors.of(view, row))
        shares = alike * np.array([weight for _, weight in wanted], np.float32)
        return [wanted[at][0] for at in np.argsort(-shares, kind="stable")[:limit] if shares[at] > 0]


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
        vectors = [self._vectors.of(view, row) for row in rows.tolist()]
        return Shelf(
            self._vectors, rows, np.arange(len(rows)) < len(newest), TextIndex.of(vectors), self._share, self._least
        )

    def _count(self, view: View, described: NDArray[np.int64]) -> None:
        """Count how rare words are, where that was never done or the catalogue has outgrown it."""
        if len(described) > GROWN * self._counted:
            sample = described[:: -(-len(described) // SAMPLED_TEXTS)].tolist()
            items = [item for row in sample if (item := view.items[row]) is not None]
            self._vectors = Vectors(Rarity.of([item.text for item in items]))
            self._counted = len(described)
