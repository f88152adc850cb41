"""What is written about an item, as TF-IDF vectors; and how texts reach those models that read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.progress import Reporter
from features.interactions import Interactions
from models.neighbours import strongest
from models.recommender import Recommender

WORD = re.compile(r"[^\W_]+")
ROWS_AT_ONCE = 1024

Texts = Mapping[str, str]


class TextReader(Recommender, Protocol):
    """A recommender whose `fit` also takes `texts`: what is written about each item, by external id. Ids without are fine."""

    reads_texts: ClassVar[bool]

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: Any = None,
        seed: int = 0,
        reporter: Reporter | None = None,
        texts: Texts | None = None,
    ) -> Self: ...


def fit_with_texts(
    kind: type[Recommender],
    data: Interactions,
    config: Any = None,
    seed: int = 0,
    reporter: Reporter | None = None,
    texts: Texts | None = None,
) -> Recommender:
    """Fit any recommender, handing `texts` to it if it reads them."""
    if not getattr(kind, "reads_texts", False):
        return kind.fit(data, config, seed, reporter)
    return cast(type[TextReader], kind).fit(data, config, seed, reporter, texts)


def words(text: str) -> list[str]:
    """Letters and digits in lower case, in runs."""
    return WORD.findall(text.lower())


def tfidf(texts: Sequence[str], rarest: int = 1) -> sparse.csr_matrix:
    """(n, n_words) float32 csr, rows of length 1 (or 0): (1 + ln count) ln(n / texts with the word).

    Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval" (ltc). Words in fewer than `rarest`
    texts are left out.
    """
    column_of: dict[str, int] = {}
    columns = [np.array([column_of.setdefault(w, len(column_of)) for w in words(text)], np.int32) for text in texts]
    row = np.repeat(np.arange(len(texts)), [len(found) for found in columns])
    column = np.concatenate([*columns, np.zeros(0, np.int32)])
    shape = (len(texts), len(column_of))
    matrix = sparse.coo_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape).tocsr()
    within = np.bincount(matrix.indices, minlength=shape[1])
    matrix.data = 1 + np.log(matrix.data)
    rarity = np.where(within >= rarest, np.log((1 + len(texts)) / np.maximum(within, 1)), 0)
    matrix = sparse.csr_matrix(matrix @ sparse.diags(rarity))
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scaled = sparse.diags(1 / np.maximum(length, 1e-12)) @ matrix
    return sparse.csr_matrix(scaled, dtype=np.float32)


def alike(
    texts: Sequence[str], neighbours: int, rarest: int = 1, sharpness: float = 1.0, counting: NDArray[Any] | None = None
) -> sparse.csr_matrix:
    """(n, n) float32 csr: the cosines of the `neighbours` texts most like each, itself left out.

    They are raised to the power `sharpness` and multiplied by how much each text counts, (n,), before the best are taken.
    """
    vectors = tfidf(texts, rarest)
    across = vectors.T.tocsr()
    parts = []
    for at in range(0, len(texts), ROWS_AT_ONCE):
        found = (vectors[at : at + ROWS_AT_ONCE] @ across).tocoo()
        others = (found.row + at != found.col) & (found.data > 0)
        much = found.data[others] ** sharpness
        if counting is not None:
            much = much * counting[found.col[others]]
        kept = (much.astype(np.float32), (found.row[others], found.col[others]))
        parts.append(strongest(sparse.csr_matrix(kept, shape=found.shape), neighbours))
    if not parts:
        return sparse.csr_matrix((0, 0), dtype=np.float32)
    return sparse.vstack(parts, format="csr").astype(np.float32)


def texts_of(ids: NDArray[np.object_], texts: Texts | None) -> list[str]:
    """The text of each item, empty where there is none."""
    known = texts or {}
    return [known.get(item, "") for item in ids.tolist()]
