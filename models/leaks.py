"""What may not be known when a question is asked: checks that an evaluation is refused rather than flattered.

A figure measured with knowledge of the answer is worth less than none (Kaufman et al. 2012, "Leakage in data mining";
Ji et al. 2023, "A critical study on data leakage in recommender system offline evaluation").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidRequest
from models.item_features import ItemFeatures
from models.protocols import Split
from models.recommender import Recommender


def refuse_leaking_split(split: Split, features: ItemFeatures | None = None) -> None:
    """Raise InvalidRequest where a split's training part, a history or an item's features hold what comes after its cases.

    Features are dated by `ItemFeatures.since_s`; hand over `features.as_of(split.cut_s)`.
    """
    cut_s, train, record = split.cut_s, split.train, split.record
    if cut_s is not None:
        if late := int(np.count_nonzero(train.time_s >= cut_s)):
            raise InvalidRequest(
                f"{late:,} training interactions are dated at or after the split's cut; leave them out"
            )
        if early := int(np.count_nonzero(split.now_s < cut_s)):
            raise InvalidRequest(f"{early:,} cases are asked before the split's cut, in the time that is trained on")
        if features is not None and (later := features.later_than(cut_s)):
            raise InvalidRequest(
                f"features of {len(later):,} items, such as {min(later)!r}, are dated at or after the split's cut; "
                "evaluate with features.as_of(cut_s)"
            )
    own = (record.indptr[split.user_ix] <= split.start) & (split.end <= record.indptr[split.user_ix + 1])
    if not own.all() or np.any(split.start > split.end):
        raise InvalidRequest("a case's history reaches outside its user's record; cut the split again")
    asked = np.flatnonzero(split.end > split.start)
    if late := int(np.count_nonzero(record.time_s[split.end[asked] - 1] > split.now_s[asked])):
        raise InvalidRequest(f"the histories of {late:,} cases reach past the time of asking; cut them there")
    if cut_s is None and (answered := _trained_on_targets(split)):
        raise InvalidRequest(f"{answered:,} targets are in the training part; a model would answer from memory")


def refuse_leaking_model(name: str, model: Recommender, split: Split, features: ItemFeatures | None = None) -> None:
    """Raise InvalidRequest for a model that was fitted on more than the split's training part and `features`.

    Told by the newest interaction it says it has seen, and by items that nothing it was given knows.
    """
    train = split.train
    newest = float(train.time_s.max())
    if model.trained_until_s >= (np.inf if split.cut_s is None else split.cut_s) or model.trained_until_s > newest:
        raise InvalidRequest(
            f"model {name} has seen interactions at or after the split's cut; give the function that fits it instead"
        )
    known = {*train.item_ids.tolist(), *(() if features is None else features.texts)}
    ahead = [item for item in model.item_ids.tolist() if item not in known and split.record.item_row(item) >= 0]
    if ahead:
        raise InvalidRequest(
            f"model {name} knows {len(ahead):,} items, such as {ahead[0]!r}, that are not in the training part: it was fitted "
            "on what comes later, or on item features that the evaluation was not told of"
        )


def _trained_on_targets(split: Split) -> int:
    """How many targets were trained on: their user has the item more often in the training part than before the case."""
    record, train = split.record, split.train
    case = np.repeat(np.arange(len(split)), np.diff(split.target_indptr))
    known = split.target_ix >= 0
    users, targets = split.user_ix[case[known]].astype(np.int64), split.target_ix[known]
    asked = users * record.n_items + targets
    trained = _counts(
        record.users.rows(train.user_ids)[train.user_ix].astype(np.int64) * record.n_items
        + record.items.rows(train.item_ids)[train.item_ix],
        train.weight > 0,
        asked,
    )
    size = split.end - split.start
    at = np.arange(int(size.sum())) + np.repeat(split.start - (np.cumsum(size) - size), size)
    before = _counts(record.user_ix[at].astype(np.int64) * record.n_items + record.item_ix[at], at >= 0, asked)
    return int(np.count_nonzero(trained > before))


def _counts(pairs: NDArray[np.int64], wanted: NDArray[np.bool_], asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """(T,) int64: how often each of `asked` is among the wanted `pairs`."""
    ordered = np.sort(pairs[wanted])
    return np.searchsorted(ordered, asked, "right") - np.searchsorted(ordered, asked, "left")
