"""A model's full ranking of all cases of a split: the rank of every target, and what the lists are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.progress import Reporter
from features.interactions import IdTable
from models.item_features import ItemFeatures
from models.list_quality import ListMeter, ListQuality
from models.metrics import measure, target_ranks
from models.protocols import Split
from models.recommender import Recommender, UserBatch, knowing, top_k

SCORES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Ranking:
    """`ranks` (T,) int64 of all targets, `cold_item` (T,) bool: the target was not trained on, by anyone; `cold_user` (C,)
    bool: nothing of the case's user was; `lists`: the quality of the top k.
    """

    ranks: NDArray[np.int64]
    cold_item: NDArray[np.bool_]
    cold_user: NDArray[np.bool_]
    lists: ListQuality


@dataclass(frozen=True)
class Segment:
    """Some of the targets apart: those of `cases` cases, `targets` in number, and each metric over these alone."""

    cases: int
    targets: int
    metrics: dict[str, float]


def rank(
    name: str, model: Recommender, split: Split, k: int, reporter: Reporter, features: ItemFeatures | None = None
) -> Ranking:
    """Score every item for every case. Of items not trained on, the model knows those it has a row for (`knowing`)."""
    fitted_items = len(model.item_ids)
    model = knowing(model, split.record.item_ids)
    item_rows = IdTable(model.item_ids).rows(split.record.item_ids)
    user_rows = split.train.users.rows(split.record.user_ids)
    meter = ListMeter(model.item_ids, split.train, features)
    ranks, step = [], max(1, SCORES_AT_ONCE // len(model.item_ids))
    with reporter.task(f"evaluate {name}", len(split)) as task:
        for at in range(0, len(split), step):
            part = slice(at, min(at + step, len(split)))
            users = split.users(part, item_rows, user_rows)
            case, target = split.targets(part)
            target = np.where(target >= 0, item_rows[target], -1).astype(np.int32)
            scores = model.scores(users)
            if split.mask_seen:
                _mask_seen(scores, users, case, target)
            ranks.append(target_ranks(scores, case, target))
            meter.add(users, top_k(scores, k)[0])
            task.advance(len(users))
    trained = split.train.items.rows(split.record.item_ids)
    cold_item = np.where(split.target_ix >= 0, trained[split.target_ix], -1) < 0
    return Ranking(np.concatenate(ranks), cold_item, user_rows[split.user_ix] < 0, meter.quality(fitted_items))


def segments(ranking: Ranking, split: Split, metrics: list[str]) -> dict[str, Segment]:
    """Cold and warm users, and cold and warm items, apart; those that exist."""
    case = np.repeat(np.arange(len(split)), np.diff(split.target_indptr))
    cold_user = ranking.cold_user[case]
    parts = {
        "cold users": cold_user, "warm users": ~cold_user,
        "cold items": ranking.cold_item, "warm items": ~ranking.cold_item,
    }  # fmt: skip
    return {label: _segment(ranking.ranks, case, part, metrics) for label, part in parts.items() if part.any()}


def _segment(ranks: NDArray[np.int64], case: NDArray[np.int64], part: NDArray[np.bool_], metrics: list[str]) -> Segment:
    sizes = np.unique(case[part], return_counts=True)[1]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    found = {metric: float(measure(metric, ranks[part], indptr).mean()) for metric in metrics}
    return Segment(len(sizes), int(part.sum()), found)


def _mask_seen(
    scores: NDArray[np.float32], users: UserBatch, case: NDArray[np.int64], target: NDArray[np.int32]
) -> None:
    """Set what the user has to -inf, in place; a target keeps its score."""
    known = target >= 0
    kept = scores[case[known], target[known]]
    scores[users.owner, users.items] = -np.inf
    scores[case[known], target[known]] = kept
