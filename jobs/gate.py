"""The gate: a model goes live only if it beats popularity and what is live, on data it has not seen (DESIGN I5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.evaluation import Row

METRIC = "ndcg@10"
BASELINE = "popularity"
FEWEST_ITEMS_SHOWN = 11  # a personal model that shows everyone the same ten items has collapsed


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may go live, and the sentence with figures that says why."""

    passed: bool
    reason: str


def judge(candidate: Row | None, baseline: Row | None, live: Row | None, *, personal: bool, n_items: int) -> Verdict:
    """Judge a candidate by rows of the same time split.

    `candidate` is None when the data is too small to be split; `baseline` is popularity; `live` is the configuration that
    serves now, fitted on the same training part, None when nothing does. "Worse than live" means beyond noise: the whole 95%
    interval of the paired difference is below zero. A personal model must be ahead of popularity.
    """
    if candidate is None:
        if personal:
            return Verdict(False, "too little data for a time split: publish more events, then train again")
        return Verdict(True, "the baseline; too little data for a time split")
    figure = candidate.metrics[METRIC]
    if not np.isfinite(figure):
        return Verdict(False, f"{METRIC} is {figure}: the model is broken")
    shown = round(candidate.coverage * n_items)
    if personal and shown < FEWEST_ITEMS_SHOWN < n_items and candidate.cases >= FEWEST_ITEMS_SHOWN:
        return Verdict(False, f"collapsed: of {n_items} items only {shown} are ever recommended to anyone")
    reasons = [f"{METRIC} {figure:.4f} on {candidate.cases:,} cases ({candidate.hits:,} hits)"]
    for label, other in ((BASELINE, baseline if personal else None), ("the live configuration", live)):
        if other is None:
            continue
        against = candidate.against(other, METRIC)
        compared = (
            f"{against.difference:+.4f} against {label} {other.metrics[METRIC]:.4f} "
            f"(95% interval {against.low:+.4f} to {against.high:+.4f})"
        )
        behind = against.difference <= 0 if other is baseline else against.high < 0
        if behind:
            return Verdict(
                False,
                f"not better than {label}: {compared}" if other is baseline else f"worse than {label}: {compared}",
            )
        reasons.append(compared)
    return Verdict(True, "; ".join(reasons))
