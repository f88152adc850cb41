"""Texts as vectors: known cosines, and the same likeness however they are compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.item_text import tfidf
from models.text_vectors import MOST_WORDS, NO_VECTOR, Rarity, TextIndex, Texts, TextVector, cosines, mean

TEXTS = ["red nail polish", "blue nail polish", "camping tent", "Camping stove", "", "the the"]
RARITY = Rarity.of(TEXTS)


def cosine(one: TextVector, other: TextVector) -> float:
    """The likeness of two texts."""
    return float(cosines(Texts.of([one]), other)[0])


some_texts = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join), min_size=1, max_size=8)


def test_cosines_are_those_of_the_tfidf_that_models_train_on() -> None:
    expected = (tfidf(TEXTS) @ tfidf(TEXTS).T).toarray()
    vectors = [RARITY.vector(text) for text in TEXTS]
    found = np.array([cosines(Texts.of(vectors), one) for one in vectors])
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[2, 3] > 0.2  # a word in common, whatever its case
    assert found[0, 2] == 0


def test_a_text_without_words_is_like_nothing() -> None:
    nothing = RARITY.vector("... !")
    assert len(nothing[0]) == 0
    assert cosine(nothing, RARITY.vector("camping")) == 0
    assert len(mean(Texts.of([]), [])[0]) == len(mean(Texts.of([NO_VECTOR]), [1.0])[0]) == 0
    assert TextIndex.of([nothing, RARITY.vector("tent")]).cosines(nothing).tolist() == [0, 0]
    assert TextIndex.of([]).cosines(RARITY.vector("tent")).shape == (0,)


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
    index, vectors = TextIndex.of([rarity.vector(text) for text in texts]), [rarity.vector(text) for text in asked]
    weights = [data.draw(st.floats(0.1, 2)) for _ in vectors]
    query = mean(Texts.of(vectors), weights)
    assert len(index) == len(texts)
    assert index.cosines(query) == pytest.approx([cosine(query, rarity.vector(text)) for text in texts], abs=1e-5)
    assert math.isclose(float(query[1] @ query[1]), 1.0, rel_tol=1e-4) or len(query[0]) == 0
    assert (np.diff(query[0]) > 0).all()


def test_a_mean_lies_nearer_to_what_weighs_more() -> None:
    polish, tent = RARITY.vector("red polish"), RARITY.vector("camping tent")
    both = mean(Texts.of([polish, tent]), [3.0, 1.0])
    assert cosine(both, polish) > cosine(both, tent) > 0.2
