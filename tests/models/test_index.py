"""The vector index: exact where it says so, full lists behind a narrow filter, and honest about its recall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ArtifactCorrupt, InvalidRequest
from models import index
from models.index import VectorIndex
from models.recommender import top_k


def cloud(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 1000))
def test_an_exact_search_finds_the_largest_inner_products_inside_the_filter(n, k, seed):
    vectors, queries = cloud(n, 5, seed), cloud(3, 5, seed + 1)
    allowed = np.random.default_rng(seed).random(n) < 0.4
    built = VectorIndex.build(vectors)
    for mask in (None, allowed):
        found, scores = built.search(queries, k, mask)
        expected, best = top_k(queries @ vectors.T, k, None if mask is None else ~mask)
        assert (found.dtype, scores.dtype, found.shape) == (np.int32, np.float32, (3, k))
        assert np.array_equal(found, expected)
        assert np.allclose(scores, best, atol=1e-4)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_filter_that_leaves_one_in_a_hundred_still_fills_the_list(kind):
    vectors = cloud(8000, 16, 0)
    allowed = np.zeros(8000, bool)
    allowed[::100] = True
    found, scores = VectorIndex.build(vectors, kind).search(cloud(5, 16, 1), 50, allowed)
    assert allowed[found].all()
    assert np.isfinite(scores).all()


def test_nothing_allowed_is_all_padding():
    found, scores = VectorIndex.build(cloud(9, 4, 0)).search(cloud(2, 4, 1), 3, np.zeros(9, bool))
    assert (found == -1).all()
    assert (scores == -np.inf).all()


def test_equal_scores_are_ordered_by_row_and_empty_questions_answered():
    built = VectorIndex.build(np.ones((6, 3), np.float32))
    assert built.search(np.ones((1, 3), np.float32), 6)[0].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert built.search(np.ones((1, 3), np.float32), 0)[0].shape == (1, 0)
    assert built.search(np.zeros((0, 3), np.float32), 4)[0].shape == (0, 4)


def test_an_approximate_index_reaches_the_recall_it_promises_and_recall_is_measured():
    vectors, queries = cloud(8000, 16, 0), cloud(50, 16, 1)
    assert VectorIndex.build(vectors).recall(vectors, queries) == 1.0
    built = VectorIndex.build(vectors, "ivf")
    assert built.recall(vectors, vectors[:200]) > 0.9
    assert built.index.nprobe < built.index.nlist
    built.index.nprobe = 1
    assert built.recall(vectors, queries) < 0.6


def test_a_small_catalogue_is_searched_exactly_and_a_large_one_by_cells(monkeypatch):
    monkeypatch.setattr(index, "EXACT_ROWS", 400)
    assert VectorIndex.build(cloud(400, 4, 0)).index.__class__.__name__ == "IndexFlatIP"
    assert VectorIndex.build(cloud(401, 4, 0)).index.__class__.__name__ == "IndexIVFFlat"


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_saved_index_answers_the_same_and_a_truncated_one_is_refused(tmp_path, kind):
    vectors, queries = cloud(500, 8, 0), cloud(4, 8, 1)
    built = VectorIndex.build(vectors, kind)
    built.save(tmp_path / "index.faiss")
    loaded = VectorIndex.load(tmp_path / "index.faiss")
    assert len(loaded) == 500
    assert all(np.array_equal(a, b) for a, b in zip(loaded.search(queries, 9), built.search(queries, 9), strict=True))
    whole = (tmp_path / "index.faiss").read_bytes()
    for harmed in (whole[: len(whole) // 2], b"", b"\x07" * 100):
        (tmp_path / "index.faiss").write_bytes(harmed)
        with pytest.raises(ArtifactCorrupt, match=r"index\.faiss"):
            VectorIndex.load(tmp_path / "index.faiss")
    with pytest.raises(ArtifactCorrupt):
        VectorIndex.load(tmp_path / "missing")


def test_what_cannot_be_indexed_or_filtered_is_refused():
    for vectors in (np.zeros((0, 4), np.float32), np.zeros(4, np.float32), np.full((2, 2), np.nan, np.float32)):
        with pytest.raises(InvalidRequest, match="finite vectors"):
            VectorIndex.build(vectors)
    with pytest.raises(InvalidRequest, match="holds 3 vectors"):
        VectorIndex.build(cloud(3, 2, 0)).search(cloud(1, 2, 0), 1, np.ones(4, bool))
