"""Texts as vectors: known cosines, and the same likeness however they are compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.item_text import tfidf
from models.text_vectors import BUCKETS, MOST_WORDS, NO_VECTOR, Chosen, Rarity, TextIndex, Texts, TextVector, carriers

TEXTS = ["red nail polish", "blue nail polish", "camping tent", "Camping stove", "", "the the"]
RARITY = Rarity.of(TEXTS)
RARITY_OF_LETTERS = Rarity.of([*"abcdefgh", "a b", "b c d"])


def cosine(one: TextVector, other: TextVector) -> float:
    """The likeness of two texts."""
    return float(dense(one) @ dense(other))


def indexed(vectors: list[TextVector]) -> TextIndex:
    """An index of texts about the items 0, 1, ..."""
    return TextIndex.of(np.arange(len(vectors), dtype=np.int32), vectors)


def found(
    index: TextIndex,
    chosen: list[TextVector],
    weights: list[float],
    least: float = -1.0,
    k: int = 100,
    **kw: list[bool],
) -> list[tuple[int, float]]:
    """What an index finds for someone who chose these, the first of them last."""
    rows, n = np.arange(len(chosen), dtype=np.int32), len(index)
    done = Chosen(rows, np.array(weights, np.float32), len(chosen), len(chosen), 1.0)
    allowed, only = (np.array(kw.get(name, [True] * n), bool) for name in ("allowed", "only"))
    best = index.best(done, rows, Texts.of(chosen), allowed, only, least, k)
    assert best is not None
    return list(zip(best[0].tolist(), best[1].tolist(), strict=True))


some_texts = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join), min_size=1, max_size=8)


def test_cosines_are_those_of_the_tfidf_that_models_train_on() -> None:
    expected = (tfidf(TEXTS) @ tfidf(TEXTS).T).toarray()
    vectors = [RARITY.vector(text) for text in TEXTS]
    found = np.array([[cosine(one, other) for other in vectors] for one in vectors])
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[2, 3] > 0.2  # a word in common, whatever its case
    assert found[0, 2] == 0


def test_a_text_without_words_is_like_nothing() -> None:
    nothing = RARITY.vector("... !")
    assert len(nothing[0]) == 0
    assert cosine(nothing, RARITY.vector("camping")) == 0
    tent = RARITY.vector("tent")
    assert found(indexed([nothing, tent]), [nothing], [1.0]) == [(0, 0), (1, 0)]
    assert found(indexed([nothing, tent]), [NO_VECTOR, tent], [1.0, 1.0], least=0.1) == [(1, pytest.approx(1))]
    assert found(indexed([]), [tent], [1.0]) == found(indexed([tent]), [], []) == []


def test_a_word_of_every_text_says_nothing_and_a_word_never_met_says_most() -> None:
    rarity = Rarity.of(["item one", "item two"] * 50)
    buckets, weights = rarity.vector("item unheard")
    assert len(buckets) == 2
    assert weights.max() > 0.99
    assert weights.min() < 0.01


def test_of_a_long_text_the_weightiest_words_are_kept() -> None:
    words = [f"word{n}" for n in range(100)]
    rarity = Rarity.of([" ".join(words[: n + 1]) for n in range(100)])  # word99 is the rarest
    vector = rarity.vector(" ".join(words))
    assert len(vector[0]) == MOST_WORDS
    assert cosine(vector, rarity.vector("word99")) > cosine(vector, rarity.vector("word70")) > 0
    assert cosine(vector, rarity.vector("word10")) == 0


@given(texts=some_texts, asked=some_texts, data=st.data())
def test_the_index_finds_what_comparing_one_by_one_does(
    texts: list[str], asked: list[str], data: st.DataObject
) -> None:
    rarity = Rarity.of(texts)
    vectors, chosen = [[rarity.vector(text) for text in some] for some in (texts, asked)]
    weights = [data.draw(st.floats(0.1, 2)) for _ in chosen]
    together = sum((weight * dense(one) for weight, one in zip(weights, chosen, strict=True)), np.zeros(BUCKETS))
    length = math.sqrt(float(together @ together)) or 1.0
    expected = [float(dense(one) @ together) / length for one in vectors]
    everything = dict(found(indexed(vectors), chosen, weights))
    assert [everything[at] for at in range(len(texts))] == pytest.approx(expected, abs=1e-5)
    allowed, only = ([data.draw(st.booleans()) for _ in texts] for _ in range(2))
    k, least = data.draw(st.integers(0, 4)), data.draw(st.sampled_from([-1.0, 0.0, 0.3, 0.9]))
    kept = [at for at in everything if allowed[at] and only[at] and everything[at] >= least]
    best = sorted(kept, key=lambda at: (-everything[at], at))[:k]
    narrowed = found(indexed(vectors), chosen, weights, least, k, allowed=allowed, only=only)
    assert narrowed == [(at, everything[at]) for at in best]


def dense(vector: TextVector) -> np.ndarray:
    """(BUCKETS,) float64."""
    spread = np.zeros(BUCKETS)
    spread[vector[0]] = vector[1]
    return spread


@given(texts=some_texts, data=st.data())
def test_what_makes_an_item_likely_is_named_by_its_weight_times_the_cosine(
    texts: list[str], data: st.DataObject
) -> None:
    vectors, n = [RARITY_OF_LETTERS.vector(text) for text in texts], len(texts)
    rows = np.array(data.draw(st.lists(st.integers(-1, n), max_size=9)), np.int32)  # -1 and n are unknown
    weights = np.array([data.draw(st.sampled_from([-1.0, 0.5, 1.0, 2.0])) for _ in rows], np.float32)
    asked = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=4)), np.int32)
    slots = np.array(data.draw(st.permutations(range(n))), np.int32)
    room, limit = Texts.of([vectors[at] for at in slots.argsort()]), data.draw(st.integers(1, 3))
    named = carriers(Chosen(rows, weights, n, 4, 0.9), slots, room, asked, limit)
    assert named is not None
    counting: dict[int, float] = {}
    for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
        if 0 <= row < n and weight > 0 and row not in counting and len(counting) < 4:
            counting[row] = weight * 0.9 ** len(counting)
    for item, found in zip(asked.tolist(), named.tolist(), strict=True):
        shares = {row: weight * cosine(vectors[row], vectors[item]) for row, weight in counting.items()}
        best = sorted((share for share in shares.values() if share > 0), reverse=True)[:limit]
        assert [shares[row] for row in found if row >= 0] == pytest.approx(best, abs=1e-5)
        assert len({row for row in found if row >= 0}) == len(best)
        assert found[len(best) :] == [-1] * (limit - len(best))


def test_equal_shares_are_named_newest_first_and_a_text_that_is_missing_is_told_of() -> None:
    tent, stove = RARITY.vector("camping tent"), RARITY.vector("iron stove")
    texts, slots = Texts.of([tent, tent, stove, tent]), np.arange(4, dtype=np.int32)
    done = Chosen(np.array([1, 3, 2, 0], np.int32), np.ones(4, np.float32), 4, 9, 1.0)
    asked = np.array([0, 2], np.int32)
    named = carriers(done, slots, texts, asked, 2)
    assert named is not None
    assert named.tolist() == [[1, 3], [2, -1]]
    assert carriers(done, slots, texts, np.array([4], np.int32), 2) is None
    for gone in range(3):
        missing = slots.copy()
        missing[gone] = -1
        assert carriers(done, missing, texts, asked, 2) is None


def test_what_was_chosen_counts_less_the_older_it_is_once_and_no_more_than_so_many() -> None:
    polish, tent, stove = (RARITY.vector(text) for text in ("red polish", "camping tent", "iron stove"))
    texts, index = Texts.of([polish, tent, stove]), indexed([polish, tent, stove])
    everyone = np.ones(3, bool)

    def scores(rows: list[int], weights: list[float], n: int = 3) -> list[float]:
        done = Chosen(np.array(rows, np.int32), np.array(weights, np.float32), n, 2, 0.5)
        best = index.best(done, np.arange(3, dtype=np.int32), texts, everyone, np.zeros(0, bool), -1.0, 3)
        assert best is not None
        return best[1][best[0].argsort()].tolist()  # type: ignore[no-any-return]

    one_of_two = pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5), 0.0])
    assert scores([0, 1], [1, 1]) == one_of_two
    assert scores([0, 0, 1], [1, 1, 1]) == one_of_two
    assert (
        scores([0, 2, -1, 1, 2], [1, -1, 1, 1, 1]) == one_of_two
    )  # nothing unwanted, unknown or beyond the newest two
    assert scores([2, 0, 1], [1, 1, 1], n=2) == one_of_two
    missing = np.array([0, -1], np.int32)
    done = Chosen(np.array([0, 1], np.int32), np.ones(2, np.float32), 2, 2, 0.5)
    assert index.best(done, missing, texts, everyone, everyone, -1.0, 3) is None


def test_a_mean_lies_nearer_to_what_weighs_more() -> None:
    polish, tent = RARITY.vector("red polish"), RARITY.vector("camping tent")
    both = dict(found(indexed([polish, tent]), [polish, tent], [3.0, 1.0]))
    assert both[0] > both[1] > 0.2
