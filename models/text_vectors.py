"""Texts as vectors that need no training, so that an item can be compared with others the moment it is known.

TF-IDF as in models.item_text, over hashed words (Weinberger et al. 2009, "Feature hashing for large scale multitask
learning"): no vocabulary has to be kept, grown or agreed on. The likeness of two texts is their cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.item_text import words

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


def unit(buckets: NDArray[np.int32], weights: NDArray[np.float32]) -> TextVector:
    """The vector with these entries, those of one bucket added up, scaled to length 1; empty where there is nothing."""
    if len(buckets) == 0:
        return buckets, weights
    order = buckets.argsort(kind="stable")
    ascending = buckets.take(order)
    new = np.ones(len(order), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    first = new.nonzero()[0]
    total = np.add.reduceat(weights.take(order), first)
    length = math.sqrt(float(total @ total))
    return ascending.take(first), (total / (length or 1.0)).astype(np.float32, copy=False)


class Texts(NamedTuple):
    """m texts side by side: entry i is of text `owner`[i], which has `weights`[i] float32 in bucket `buckets`[i] int32."""

    m: int
    buckets: NDArray[np.int32]
    weights: NDArray[np.float32]
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Sequence[TextVector]) -> Self:
        """These vectors."""
        buckets, weights = [buckets for buckets, _ in vectors], [weights for _, weights in vectors]
        owner = np.arange(len(vectors)).repeat([len(one) for one in buckets])
        return cls(len(vectors), np.concatenate([NO_BUCKETS, *buckets]), np.concatenate([NO_WEIGHTS, *weights]), owner)


def mean(texts: Texts, weights: Sequence[float]) -> TextVector:
    """The direction of the weighted sum of texts."""
    return unit(texts.buckets, texts.weights * np.array(weights, np.float32).take(texts.owner))


def cosines(texts: Texts, other: TextVector) -> NDArray[np.float32]:
    """(m,) float32, 0 to 1: how much each text is like another."""
    if len(other[0]) == 0:
        return np.zeros(texts.m, np.float32)
    at = np.minimum(other[0].searchsorted(texts.buckets), len(other[0]) - 1)
    products = texts.weights * other[1].take(at) * (other[0].take(at) == texts.buckets)
    return np.bincount(texts.owner, products, texts.m).astype(np.float32)


@dataclass(frozen=True)
class TextIndex:
    """n vectors to search, exactly. `column` (BUCKETS,) int32 is where a bucket stands in `vectors` (n, columns), -1 nowhere."""

    vectors: sparse.csr_matrix
    column: NDArray[np.int32]

    @classmethod
    def of(cls, vectors: Sequence[TextVector]) -> Self:
        """Index these, whose places are the row numbers. Milliseconds for ten thousand: it is made anew, never patched."""
        buckets = np.fromiter(chain.from_iterable(b.tolist() for b, _ in vectors), np.int32)
        weights = np.concatenate([NO_WEIGHTS, *(values for _, values in vectors)])
        indptr = np.cumsum([0, *(len(b) for b, _ in vectors)])
        there = np.unique(buckets)
        column = np.full(BUCKETS, -1, np.int32)
        column[there] = np.arange(len(there), dtype=np.int32)
        shape = (len(vectors), len(there))
        return cls(sparse.csr_matrix((weights, column[buckets], indptr), shape=shape), column)

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def cosines(self, query: TextVector) -> NDArray[np.float32]:
        """(n,) float32: how much each is like `query`."""
        columns = self.column[query[0]]
        asked = np.zeros(self.vectors.shape[1], np.float32)
        asked[columns[columns >= 0]] = query[1][columns >= 0]
        found: NDArray[np.float32] = self.vectors @ asked
        return found
