"""top_k selects among the best of blocks where rows are wide: the same as sorting everything."""

from __future__ import annotations

import numpy as np
import pytest

from models.recommender import top_k


@pytest.mark.parametrize("n", [31, 1000, 1279, 1280, 5003])
@pytest.mark.parametrize("levels", [3, 10_000])
def test_wide_rows_are_answered_as_if_sorted_whole_also_with_ties_and_little_to_choose_from(n, levels):
    rng = np.random.default_rng(n)
    scores = rng.integers(0, levels, (6, n)).astype(np.float32)
    scores[1, rng.random(n) < 0.999] = -np.inf
    scores[2] = -np.inf
    scores[3, : n // 2] = np.nan
    scores[4, n - 5 :] = levels + 1  # past the last whole block
    found, best = top_k(scores, 10)
    for row, columns, values in zip(scores, found, best, strict=True):
        usable = np.where(np.isnan(row), -np.inf, row)
        order = np.lexsort((np.arange(n), -usable))[:10]
        order = order[usable[order] > -np.inf]
        assert columns[columns >= 0].tolist() == order.tolist()
        assert values[: len(order)].tolist() == usable[order].tolist()
        assert (columns[len(order) :] == -1).all()
