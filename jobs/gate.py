"""The gate: a model goes live only if it beats popularity and what is live, on data it has not seen (DESIGN I5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.interactions import IdTable, Interactions
from models.evaluation import Row
from models.recommender import History, Recommender, UserBatch, top_k

METRIC = "ndcg@10"
BASELINE = "popularity"
FEWEST_ITEMS_SHOWN = 11  # a personal model that shows everyone the same ten items has collapsed
LEAST_COVERAGE = 0.2  # of what the live configuration shows, on the same split: less has collapsed
ASKED_USERS = 200
ASKED_SCORES = 4_000_000
LIST = 10


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may go live, and the sentence with figures that says why."""

    passed: bool
    reason: str


def fault(model: Recommender, data: Interactions, seed: int = 0) -> str | None:
    """What is wrong with the very model that is to be published, as a sample of the users of `data` finds; None: nothing.

    The figures come from a model fitted on less; this one is asked for lists as serving will ask it.
    """
    kept, known = data.positives(), IdTable(model.item_ids)
    able = np.flatnonzero(np.diff(kept.indptr) > 0)
    most = max(1, min(ASKED_USERS, ASKED_SCORES // max(1, model.item_ids.size)))
    histories: list[History] = []
    for user in np.random.default_rng(seed).permutation(able)[:most]:
        own = slice(kept.indptr[user], kept.indptr[user + 1])
        histories.append((known.rows(kept.item_ids[kept.item_ix[own]]), kept.time_s[own], kept.weight[own]))
    users = UserBatch.from_histories(histories)
    scores = model.scores(users)
    if broken := int((np.isnan(scores) | (scores == np.inf)).any(axis=1).sum()):
        return f"broken: for {broken} of {len(users)} users asked, scores are not numbers"
    found, _ = top_k(scores, LIST)
    if not (found >= 0).any():
        return f"empty: it recommends nothing to any of {len(users)} users asked"
    return None


def judge(
    candidate: Row | None,
    baseline: Row | None,
    live: Row | None,
    *,
    personal: bool,
    n_items: int,
    rival: Row | None = None,
    fault: str | None = None,
) -> Verdict:
    """Judge a candidate by rows of the same time split.

    `candidate` is None when the data is too small to be split; `baseline` is popularity; `live` is the configuration that
    serves now, fitted on the same training part, None when nothing does; `rival` is the best of the models that the candidate
    would answer in place of. "Worse" than these two means beyond noise: the whole 95% interval of the paired difference is
    below zero. A personal model must be ahead of popularity. `fault` is what `fault` found.
    """
    if fault is not None:
        return Verdict(False, fault)
    if candidate is None:
        if personal:
            return Verdict(False, "too little data for a time split: publish more events, then train again")
        return Verdict(True, "the baseline; too little data for a time split")
    figure = candidate.metrics[METRIC]
    if not np.isfinite(figure):
        return Verdict(False, f"{METRIC} is {figure}: the model is broken")
    if candidate.coverage == 0:
        return Verdict(False, f"empty: it recommends nothing to anyone in {candidate.cases:,} cases")
    if personal and (collapse := _collapse(candidate, live, n_items)):
        return Verdict(False, collapse)
    reasons = [f"{METRIC} {figure:.4f} on {candidate.cases:,} cases ({candidate.hits:,} hits)"]
    others = [(BASELINE, baseline if personal else None), ("the live configuration", live)]
    for label, other in [*others, (f"{rival.model}, which it would replace" if rival else "", rival)]:
        if other is None:
            continue
        against = candidate.against(other, METRIC)
        compared = (
            f"{against.difference:+.4f} against {label} {other.metrics[METRIC]:.4f} "
            f"(95% interval {against.low:+.4f} to {against.high:+.4f})"
        )
        if other is baseline and against.difference <= 0:
            return Verdict(False, f"not better than {label}: {compared}")
        if other is not baseline and against.high < 0:
            return Verdict(False, f"worse than {label}: {compared}")
        reasons.append(compared)
    return Verdict(True, "; ".join(reasons))


def _collapse(candidate: Row, live: Row | None, n_items: int) -> str | None:
    """The sentence that says how few items a model shows, where these are too few."""
    shown = round(candidate.coverage * n_items)
    if shown < FEWEST_ITEMS_SHOWN < n_items and candidate.cases >= FEWEST_ITEMS_SHOWN:
        return f"collapsed: of {n_items} items only {shown} are ever recommended to anyone"
    if live is not None and candidate.coverage < LEAST_COVERAGE * live.coverage:
        return (
            f"collapsed: it recommends {candidate.coverage:.1%} of the items to anyone at all, the live configuration "
            f"{live.coverage:.1%}"
        )
    return None
