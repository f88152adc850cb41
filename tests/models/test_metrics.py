"""Metrics: ties count against the model, sums agree with definitions, and intervals with chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidRequest
from models.metrics import MISS, better, interval, measure, parse, target_ranks

SCORE = st.sampled_from([0.0, 0.5, 1.0, 2.0, -np.inf, np.nan])


@given(st.lists(st.lists(SCORE, min_size=4, max_size=4), min_size=1, max_size=5), st.data())
def test_a_rank_is_the_items_above_and_equal_and_one(rows, data):
    scores = np.array(rows, np.float32)
    case = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    target = data.draw(st.lists(st.integers(-1, 3), min_size=len(case), max_size=len(case)))
    ranks = target_ranks(scores, np.array(case, int), np.array(target, np.int32))
    for rank, row, column in zip(ranks, case, target, strict=True):
        if column == -1:
            assert rank == MISS
            continue
        known = [-math.inf if math.isnan(s) else s for s in rows[row]]
        above = sum(s > known[column] for s in known)
        equal = sum(s == known[column] for s in known) - 1
        assert rank == above + equal + 1


def test_a_model_that_scores_everything_alike_ranks_everything_last():
    ranks = target_ranks(np.zeros((1, 50), np.float32), np.array([0]), np.array([7], np.int32))
    assert ranks.tolist() == [50]


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True), min_size=1, max_size=6),
    st.integers(1, 12),
)
def test_metrics_agree_with_their_definitions(cases, k):
    ranks = np.array([rank for case in cases for rank in case], np.int64)
    indptr = np.cumsum([0, *map(len, cases)])
    for at, case in enumerate(cases):
        within = [rank for rank in case if rank <= k]
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(case)) + 1))
        expected = {
            "hr": float(bool(within)),
            "recall": len(within) / len(case),
            "ndcg": sum(1 / math.log2(rank + 1) for rank in within) / ideal,
            "mrr": 1 / min(within) if within else 0.0,
        }
        for name, value in expected.items():
            assert measure(f"{name}@{k}", ranks, indptr)[at] == pytest.approx(value, abs=1e-9)


def test_a_miss_counts_in_the_mean_of_every_metric():
    ranks = np.array([1, MISS], np.int64)
    assert [measure(f"{name}@10", ranks).tolist() for name in ("hr", "recall", "ndcg", "mrr")] == [[1, 0]] * 4


@pytest.mark.parametrize("name", ["hr", "hr@", "hr@0", "hr@-1", "hr@x", "best@10", "@10", ""])
def test_what_is_no_metric_is_refused_with_those_that_are(name):
    with pytest.raises(InvalidRequest, match="ndcg@10"):
        measure(name, np.array([1]))


def test_a_metric_is_a_name_and_a_cutoff():
    assert parse("ndcg@10") == ("ndcg", 10)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        values = (rng.random(300) < 0.3).astype(float)
        low, high = interval(values, seed)
        covered += low <= 0.3 <= high
        assert low <= values.mean() <= high
    assert covered >= 51  # of 57 expected


def test_drawing_whole_users_widens_the_interval_when_their_cases_agree():
    values = np.repeat(np.arange(20) % 2, 50).astype(float)
    low, high = interval(values, 0)
    wide_low, wide_high = interval(values, 0, np.repeat(np.arange(20), 50).astype(np.int32))
    assert wide_high - wide_low > 3 * (high - low)
    assert interval(values, 0) == (low, high)
    assert all(math.isnan(bound) for bound in interval(np.zeros(0), 0))


def test_users_of_few_and_of_many_cases_are_drawn_alike_and_each_case_counts_once():
    groups = np.repeat(np.arange(10), np.arange(1, 11)).astype(np.int32)
    assert interval(np.ones(len(groups)), 0, groups) == (1.0, 1.0)


def test_a_paired_comparison_tells_a_better_model_from_an_equal_one():
    rng = np.random.default_rng(0)
    base = rng.random(500)
    ahead = better(base + rng.normal(0.05, 0.1, 500), base, 0)
    assert ahead.share > 0.99
    assert 0 < ahead.low < ahead.difference < ahead.high
    behind = better(base, base + 0.1, 0)
    assert (behind.share, behind.high) == (0, pytest.approx(-0.1))
    assert better(base, base, 0).share == 0.5


def test_models_measured_on_different_cases_are_not_compared():
    with pytest.raises(InvalidRequest, match="different cases"):
        better(np.zeros(3), np.zeros(4), 0)
    with pytest.raises(InvalidRequest, match="no cases"):
        better(np.zeros(0), np.zeros(0), 0)
    with pytest.raises(InvalidRequest, match="no target"):
        measure("hr@1", np.array([1]), np.array([0, 1, 1]))
