"""Texts as vectors that need no training, so that an item can be compared with others the moment it is known.

TF-IDF as in models.item_text, over hashed words (Weinberger et al. 2009, "Feature hashing for large scale multitask
learning"): no vocabulary has to be kept, grown or agreed on. The likeness of two texts is their cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models import text_kernel
from models.item_text import words
from models.recommender import Mask

BUCKETS = 1 << 18
MOST_WORDS = 32  # the weightiest of a text; what a long description adds beyond is mostly noise, and costs time

NO_BUCKETS, NO_WEIGHTS = np.zeros(0, np.int32), np.zeros(0, np.float32)

TextVector = tuple[NDArray[np.int32], NDArray[np.float32]]  # buckets (m,), ascending, and weights (m,) of length 1
NO_VECTOR: TextVector = (NO_BUCKETS, NO_WEIGHTS)


@dataclass(frozen=True)
class Rarity:
    """How much a word says: `idf` (BUCKETS,) float32, ln((1 + n) / (texts with the word, at least one)), of n texts."""

    idf: NDArray[np.float32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Counted over these texts; a sample of the catalogue is enough."""
        within = np.zeros(BUCKETS, np.int64)
        for text in texts:
            within[list({crc32(word.encode()) % BUCKETS for word in words(text)})] += 1
        return cls(np.log((1 + len(texts)) / np.maximum(within, 1)).astype(np.float32))

    def vector(self, text: str) -> TextVector:
        """The text's MOST_WORDS weightiest words; nothing where it has none, or none that says anything."""
        counts: dict[int, int] = {}
        for word in words(text):
            bucket = crc32(word.encode()) % BUCKETS
            counts[bucket] = counts.get(bucket, 0) + 1
        buckets = np.fromiter(counts, np.int32, len(counts))
        weights = self.idf.take(buckets)
        if any(count > 1 for count in counts.values()):
            weights *= np.fromiter((1 + math.log(count) for count in counts.values()), np.float32, len(counts))
        if len(weights) > MOST_WORDS:
            kept = np.sort(np.argsort(-weights, kind="stable")[:MOST_WORDS])
            buckets, weights = buckets.take(kept), weights.take(kept)
        if not weights.all():
            buckets, weights = buckets[weights > 0], weights[weights > 0]
        ascending = buckets.argsort()  # each is there once
        weights = weights.take(ascending)
        length = math.sqrt(float(weights @ weights))
        return buckets.take(ascending), weights / np.float32(length or 1.0)


class Texts(NamedTuple):
    """m texts side by side: text i has `sizes`[i] words (m,) int32, the first of `buckets`[i] int32, ascending, and `weights`[i]
    float32, both (m, MOST_WORDS)."""

    sizes: NDArray[np.int32]
    buckets: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def room(cls, m: int) -> Self:
        """For m texts, that are empty so far."""
        return cls(np.zeros(m, np.int32), np.zeros((m, MOST_WORDS), np.int32), np.zeros((m, MOST_WORDS), np.float32))

    @classmethod
    def of(cls, vectors: Sequence[TextVector]) -> Self:
        """These vectors."""
        made = cls.room(len(vectors))
        for at, vector in enumerate(vectors):
            made.put(at, vector)
        return made

    def put(self, at: int, vector: TextVector) -> None:
        """Let text `at` be this one."""
        size = len(vector[0])
        self.sizes[at] = size
        self.buckets[at, :size], self.weights[at, :size] = vector

    def take(self, at: NDArray[np.int32]) -> Texts:
        """Copies of these."""
        return Texts(self.sizes.take(at), self.buckets.take(at, 0), self.weights.take(at, 0))

    def vector(self, at: int) -> TextVector:
        """One of them; read-only."""
        size = self.sizes[at]
        return self.buckets[at, :size], self.weights[at, :size]


class Chosen(NamedTuple):
    """What someone chose, newest first: `rows` (m,) int32 of items, -1 for unknown ones, and `weights` (m,) float32, of which
    those above 0 count. Each of the newest `read` items below row `n` counts once, and `recency` times as much as the one before.
    """

    rows: NDArray[np.int32]
    weights: NDArray[np.float32]
    n: int
    read: int
    recency: float


def carriers(
    chosen: Chosen, slots: NDArray[np.int32], texts: Texts, asked: NDArray[np.int32], limit: int
) -> NDArray[np.int32] | None:
    """What makes each of the items in the rows `asked` (k,) likely: (k, limit) int32 rows of what was chosen, those first whose
    weight times their cosine with the item is largest, as far as that is above 0; padded with -1. `slots` says which of `texts`
    is about an item's row. None where one has none, -1 that is.
    """
    found = np.empty((len(asked), limit), np.int32)
    return None if text_kernel.carriers(*chosen, slots, *texts, asked, found) < 0 else found


@dataclass(frozen=True)
class TextIndex:
    """m texts to search, exactly, by their words. `rows` (m,) int32 are the rows of items that they are about. `column`
    (BUCKETS,) int32 says where a bucket stands in `starts`, -1 for nowhere: the texts `places`, (entries,) int32, that have that
    word from one start to the next, and its `weights` (entries,) float32 in them.
    """

    rows: NDArray[np.int32]
    column: NDArray[np.int32]
    starts: NDArray[np.int32]
    places: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.int32], vectors: Sequence[TextVector]) -> Self:
        """Index these. Milliseconds for ten thousand: it is made anew, never patched."""
        buckets = np.concatenate([NO_BUCKETS, *(buckets for buckets, _ in vectors)])
        weights = np.concatenate([NO_WEIGHTS, *(weights for _, weights in vectors)])
        places = np.arange(len(vectors), dtype=np.int32).repeat([len(one) for one, _ in vectors])
        order = buckets.argsort(kind="stable")
        there, counts = np.unique(buckets, return_counts=True)
        column = np.full(BUCKETS, -1, np.int32)
        column[there] = np.arange(len(there), dtype=np.int32)
        starts = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
        return cls(rows, column, starts, places.take(order), weights.take(order))

    def __len__(self) -> int:
        return len(self.rows)

    def best(
        self, chosen: Chosen, slots: NDArray[np.int32], texts: Texts, allowed: Mask, only: Mask, least: float, k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """The rows (at most k,) int32 of what is most like that which was chosen, best first, and their cosines float32, `least`
        at least, with the direction of the weighted sum of its texts: of what is `allowed` (rows of items) and in `only` ((m,),
        or empty for all). `slots` says which of `texts` is about an item's row. None where one has none, -1 that is.
        """
        rows, scores = np.empty(k, np.int32), np.empty(k, np.float32)
        index = (self.rows, self.column, self.starts, self.places, self.weights)
        found = text_kernel.best(*chosen, slots, *texts, *index, allowed, only, least, rows, scores)
        return None if found < 0 else (rows[:found], scores[:found])
