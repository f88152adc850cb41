"""The gate lets a model live only on evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.interactions import Interactions
from jobs.gate import METRIC, fault, judge
from models.als import ALS, ALSConfig
from models.evaluation import Row
from models.transitions import Transitions

CASES = 400


def row(name: str, values: np.ndarray, coverage: float = 0.5) -> Row:
    return Row(
        model=name, metrics={METRIC: float(values.mean())}, intervals={METRIC: (0, 1)}, hits=int((values > 0).sum()),
        targets=len(values), cases=len(values), cold_item_share=0, cold_user_share=0, coverage=coverage, fit_s=0, score_ms=0,
        peak_bytes=0, values={METRIC: values}, users=np.arange(len(values), dtype=np.int32), ranks=np.ones(len(values), np.int64),
    )  # fmt: skip


def values(share: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(CASES) < share).astype(np.float64)


def test_a_personal_model_ahead_of_popularity_passes() -> None:
    verdict = judge(row("als", values(0.4)), row("popularity", values(0.1, 1)), None, personal=True, n_items=100)
    assert verdict.passed
    assert "400 cases" in verdict.reason


def test_a_personal_model_behind_popularity_is_refused_with_the_figures() -> None:
    verdict = judge(row("als", values(0.1)), row("popularity", values(0.4, 1)), None, personal=True, n_items=100)
    assert not verdict.passed
    assert "not better than popularity" in verdict.reason
    assert "95% interval" in verdict.reason


def test_a_model_equal_to_popularity_is_refused() -> None:
    same = values(0.3)
    assert not judge(row("als", same), row("popularity", same), None, personal=True, n_items=100).passed


def test_a_model_worse_than_live_beyond_noise_is_refused() -> None:
    verdict = judge(
        row("als", values(0.2)),
        row("popularity", values(0.1, 1)),
        row("als", values(0.5, 2)),
        personal=True,
        n_items=100,
    )
    assert not verdict.passed
    assert "worse than the live configuration" in verdict.reason


def test_a_model_within_noise_of_live_passes() -> None:
    live = values(0.4)
    mine = live.copy()
    mine[np.flatnonzero(mine)[0]] = 0  # one hit fewer of some 160
    assert judge(
        row("als", mine), row("popularity", values(0.1, 1)), row("als", live), personal=True, n_items=100
    ).passed


def test_a_model_that_shows_everyone_the_same_is_refused() -> None:
    collapsed = row("als", values(0.4), coverage=10 / 1000)
    verdict = judge(collapsed, row("popularity", values(0.1, 1)), None, personal=True, n_items=1000)
    assert not verdict.passed
    assert "collapsed" in verdict.reason


def test_a_model_with_nan_is_refused() -> None:
    broken = row("als", np.full(CASES, np.nan))
    assert not judge(broken, row("popularity", values(0.1)), None, personal=True, n_items=100).passed


@pytest.mark.parametrize(("personal", "passed"), [(True, False), (False, True)])
def test_without_enough_data_only_the_baseline_passes(personal: bool, passed: bool) -> None:
    verdict = judge(None, None, None, personal=personal, n_items=5)
    assert verdict.passed is passed
    assert "too little data" in verdict.reason


def test_a_blend_worse_than_the_best_model_it_would_replace_is_refused() -> None:
    verdict = judge(
        row("blend", values(0.2)),
        row("popularity", values(0.1, 1)),
        None,
        personal=True,
        n_items=100,
        rival=row("transitions", values(0.5, 2)),
    )
    assert not verdict.passed
    assert "worse than transitions, which it would replace" in verdict.reason
    assert "95% interval" in verdict.reason


def test_a_model_that_shows_a_fraction_of_what_the_live_one_does_is_refused() -> None:
    mine, live = row("als", values(0.4), coverage=0.05), row("als", values(0.1, 2), coverage=0.5)
    verdict = judge(mine, row("popularity", values(0.1, 1)), live, personal=True, n_items=1000)
    assert not verdict.passed
    assert "collapsed: it recommends 5.0% of the items" in verdict.reason


def test_a_model_that_recommends_nothing_is_refused() -> None:
    empty = row("als", np.zeros(CASES), coverage=0.0)
    verdict = judge(empty, row("popularity", values(0.1, 1)), None, personal=True, n_items=100)
    assert not verdict.passed
    assert "empty" in verdict.reason


def test_a_fault_of_the_very_model_to_be_published_outweighs_every_figure() -> None:
    good = row("als", values(0.9))
    verdict = judge(good, row("popularity", values(0.1, 1)), None, personal=True, n_items=100, fault="broken: NaN")
    assert (verdict.passed, verdict.reason) == (False, "broken: NaN")


def walkers() -> Interactions:
    rows = [(f"u{user}", f"i{(user + step) % 20}", user * 100 + step) for user in range(30) for step in range(6)]
    return Interactions.from_columns(*zip(*rows, strict=True))


def test_faults_of_a_fitted_model_are_found_by_asking_it() -> None:
    data = walkers()
    sound = Transitions.fit(data)
    assert fault(sound, data) is None
    broken = replace(sound, next_items=sound.next_items * np.float32(np.nan))
    assert str(fault(broken, data)).startswith("broken: for 30 of 30 users asked")
    empty = replace(sound, next_items=sound.next_items * np.float32(0))
    assert str(fault(empty, data)).startswith("empty: it recommends nothing to any of 30 users")
    factors = ALS.fit(data, ALSConfig(factors=4, iterations=2))
    assert fault(factors, data) is None
    assert fault(replace(factors, factors=np.full_like(factors.factors, np.nan)), data) is not None
