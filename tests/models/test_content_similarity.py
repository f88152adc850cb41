"""Content: TF-IDF by hand, items that nobody touched, steps lent between items of the same words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ArtifactCorrupt
from features.interactions import Interactions
from models.content_similarity import ContentConfig, ContentSimilarity
from models.item_text import alike, fit_with_texts, tfidf, words
from models.popularity import Popularity
from models.recommender import Recommender, UserBatch
from models.transitions import TransitionsConfig

TEXTS = {"a": "red silk dress", "b": "red silk scarf", "c": "steel pan", "d": "steel pot", "new": "silk dress, RED!"}
THROUGH = ContentConfig(through_transitions=True, transitions=TransitionsConfig(window=1, reverse_share=0.0))


def sequences(*walks: str) -> Interactions:
    rows = [(f"u{user}", item, time) for user, walk in enumerate(walks) for time, item in enumerate(walk)]
    return Interactions.from_columns(*zip(*rows, strict=True))


def after(model: ContentSimilarity, *items: str) -> list[str]:
    rows = np.searchsorted(model.item_ids, items).astype(np.int32)
    users = UserBatch.from_histories([(rows, np.arange(len(rows)), np.ones(len(rows)))])
    exclude = np.isin(model.item_ids, items)
    found, _ = model.recommend(users, 3, exclude)
    return [model.item_ids[row] for row in found[0] if row >= 0]


def test_words_are_runs_of_letters_and_digits_in_lower_case():
    assert words("L'Oréal no_5 (50ML)") == ["l", "oréal", "no", "5", "50ml"]


def test_tfidf_rows_have_length_one_and_rare_words_weigh_more():
    found = tfidf(["red red dress", "red pan", ""]).toarray()
    assert np.linalg.norm(found, axis=1).tolist() == pytest.approx([1, 1, 0])
    red, dress = (1 + np.log(2)) * np.log(4 / 2), np.log(4 / 1)
    assert found[0, :2].tolist() == pytest.approx([red / np.hypot(red, dress), dress / np.hypot(red, dress)], rel=1e-5)
    assert np.count_nonzero(tfidf(["red dress", "red pan"], rarest=2).toarray()) == 2


def test_the_most_alike_are_kept_and_none_is_its_own_neighbour(monkeypatch):
    texts = list(TEXTS.values())
    whole = alike(texts, 2).toarray()
    assert (whole.diagonal() == 0).all()
    assert (np.count_nonzero(whole, axis=1) <= 2).all()
    assert whole[0, 4] == pytest.approx(1)
    monkeypatch.setattr("models.item_text.ROWS_AT_ONCE", 2)
    assert np.array_equal(alike(texts, 2).toarray(), whole)
    assert alike([], 5).shape == (0, 0)


def test_an_item_that_nobody_touched_is_found_by_its_text():
    model = ContentSimilarity.fit(sequences("ab", "cd"), texts=TEXTS)
    assert after(model, "a") == ["new", "b"]
    assert after(model, "c") == ["d"]
    assert after(model, "new") == ["a", "b"]


def test_of_texts_alike_the_more_popular_comes_first_unless_popularity_is_not_to_count():
    texts = dict.fromkeys("abc", "red silk")
    data = sequences("cb", "cx", "c")
    assert after(ContentSimilarity.fit(data, texts=texts), "a") == ["c", "b"]
    assert after(ContentSimilarity.fit(data, ContentConfig(alike=1), texts=texts), "a") == ["c"]
    assert after(ContentSimilarity.fit(data, ContentConfig(popularity=0.0), texts=texts), "a") == ["b", "c"]


def test_without_texts_nothing_is_recommended():
    model = ContentSimilarity.fit(sequences("ab", "cd"))
    assert after(model, "a") == []
    assert model.item_ids.tolist() == ["a", "b", "c", "d"]


def test_what_follows_an_item_also_follows_those_written_about_in_the_same_words():
    data = sequences("ac", "ac", "bd")
    model = ContentSimilarity.fit(data, THROUGH, texts={"a": "red silk", "b": "red silk", "new": "red silk"})
    assert after(model, "b") == ["c"]  # its own step to d is not repeated here: that is what transitions are for
    assert after(model, "new") == ["c", "d"]
    onwards = replace(THROUGH, onwards=0.5)
    model = ContentSimilarity.fit(data, onwards, texts={"c": "steel pan", "new": "steel pan"})
    assert after(model, "a") == ["new"]


def test_texts_reach_the_models_that_read_them_and_no_others():
    data = sequences("ab", "cd")
    assert "new" in fit_with_texts(ContentSimilarity, data, texts=TEXTS).item_ids
    assert isinstance(fit_with_texts(Popularity, data, texts=TEXTS), Popularity)


def test_it_keeps_the_contract_explains_itself_and_comes_back_from_disk(tmp_path):
    model = ContentSimilarity.fit(sequences("ab", "cd"), THROUGH, texts=TEXTS)
    assert isinstance(model, Recommender)
    model.save(tmp_path)
    loaded = ContentSimilarity.load(tmp_path)
    assert after(loaded, "new") == after(model, "new") != []
    assert loaded.config == model.config
    plain = ContentSimilarity.fit(sequences("ab", "cd"), texts=TEXTS)
    users = UserBatch.from_histories([(np.array([0, 2], np.int32), np.arange(2), np.ones(2))])
    assert plain.because(users, np.array([[1, 3]], np.int32), 1).tolist() == [[[0], [2]]]
    (tmp_path / "items.json").write_text('["one"]')
    with pytest.raises(ArtifactCorrupt):
        ContentSimilarity.load(tmp_path)
