"""Leaks: whatever knows the answer is refused, by its own fault alone; what does not is measured."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from core.errors import InvalidRequest
from features.interactions import Interactions
from models.content_similarity import ContentSimilarity
from models.evaluation import evaluate
from models.item_features import ItemFeatures
from models.popularity import Popularity
from models.protocols import Split, given_split, held_out_share, leave_last_out, split_at
from models.transitions import Transitions

METRICS = ("hr@3",)
NAIVE = {"popularity": Popularity.fit}


def stream() -> Interactions:
    """12 users on a ring of 15 items, one event a second; item "late" comes at the very end."""
    rows = [(f"u{n % 12}", f"i{(n // 12 + n) % 15:02d}", float(n)) for n in range(240)]
    rows += [("u0", "late", 240.0), ("u1", "late", 241.0)]
    return Interactions.from_columns(*zip(*rows, strict=True))


def cut() -> Split:
    return split_at(stream(), 180.0)


def test_a_split_that_is_clean_is_measured():
    for split in (cut(), leave_last_out(stream()), leave_last_out(stream(), "validation"), held_out_share(stream())):
        assert evaluate(NAIVE, split, METRICS)[0].cases == len(split)


def test_a_training_part_that_holds_test_interactions_is_refused():
    with pytest.raises(InvalidRequest, match="training interactions are dated"):
        evaluate(NAIVE, replace(cut(), train=stream()), METRICS)
    one_more = stream().before(181.0)
    with pytest.raises(InvalidRequest, match="1 training interactions"):
        evaluate(NAIVE, replace(cut(), train=one_more), METRICS)


def test_without_a_clock_a_training_part_that_holds_the_targets_is_refused():
    split = leave_last_out(stream())
    with pytest.raises(InvalidRequest, match="12 targets are in the training part"):
        evaluate(NAIVE, replace(split, train=stream()), METRICS)


def test_a_target_that_the_user_also_had_before_is_no_leak():
    data = Interactions.from_columns(["a"] * 5, list("xyxyx"), range(5))
    split = leave_last_out(data)
    assert evaluate(NAIVE, split, METRICS)[0].hits == 1
    with pytest.raises(InvalidRequest, match="1 targets are in the training part"):
        evaluate(NAIVE, replace(split, train=data), METRICS)


def test_a_given_split_whose_masked_history_holds_its_targets_is_refused():
    data = Interactions.from_columns(["a", "a", "b"], ["x", "y", "x"], [0, 0, 0])
    with pytest.raises(InvalidRequest, match="1 of the 2 targets"):
        given_split(data, ["a", "b"], ["x", "y"])
    assert len(given_split(data, ["a", "b"], ["x", "y"], mask_seen=False)) == 2  # a return may be asked for


def test_a_history_that_reaches_past_the_question_is_refused():
    split = cut()
    further = np.minimum(split.end + 2, split.record.indptr[split.user_ix + 1])
    with pytest.raises(InvalidRequest, match="past the time of asking"):
        evaluate(NAIVE, replace(split, end=further), METRICS)
    with pytest.raises(InvalidRequest, match="outside its user's record"):
        evaluate(NAIVE, replace(split, end=split.record.indptr[split.user_ix + 1] + 1), METRICS)
    with pytest.raises(InvalidRequest, match="outside its user's record"):
        evaluate(NAIVE, replace(split, start=np.maximum(split.start - 1, 0)), METRICS)


def test_a_case_asked_in_the_time_that_is_trained_on_is_refused():
    split = cut()
    with pytest.raises(InvalidRequest, match="before the split's cut"):
        evaluate(NAIVE, replace(split, now_s=split.now_s - 100), METRICS)


def test_a_model_fitted_on_the_future_is_refused_however_it_is_handed_over():
    split = cut()
    for leaking in (Transitions.fit(stream()), lambda _: Transitions.fit(stream())):
        with pytest.raises(InvalidRequest, match="has seen interactions"):
            evaluate({"leaking": leaking}, split, METRICS)
    last_out = leave_last_out(stream())
    with pytest.raises(InvalidRequest, match="has seen interactions"):
        evaluate({"leaking": Transitions.fit(stream())}, last_out, METRICS)


def test_a_model_that_hides_when_it_was_trained_is_betrayed_by_the_items_it_knows():
    leaking = replace(Transitions.fit(stream()), trained_until_s=0.0)
    with pytest.raises(InvalidRequest, match="'late'"):
        evaluate({"leaking": leaking}, cut(), METRICS)


def test_item_features_dated_after_the_cut_are_refused_and_those_as_of_the_cut_are_not():
    split = cut()
    features = ItemFeatures({"i00": "red silk", "late": "red silk"}, since_s={"i00": 10.0, "late": 200.0})

    def fits(known: ItemFeatures) -> dict:
        return {"content": partial(ContentSimilarity.fit, texts=known.texts)}

    with pytest.raises(InvalidRequest, match="features of 1 items, such as 'late'"):
        evaluate(fits(features), split, METRICS, features=features)
    known = features.as_of(split.cut_s)
    assert set(known.texts) == {"i00"}
    assert evaluate(fits(known), split, METRICS, features=known)[0].targets == len(split)
    # told of the honest features only, and given the others behind the evaluator's back
    with pytest.raises(InvalidRequest, match="was not told of"):
        evaluate(fits(features), split, METRICS, features=known)


def test_an_item_whose_text_was_known_before_the_cut_may_be_found_by_it_though_nobody_had_touched_it():
    split = cut()
    features = ItemFeatures({f"i{n:02d}": "red silk" for n in range(15)} | {"late": "red silk"})
    row = evaluate(
        {"content": partial(ContentSimilarity.fit, texts=features.texts)}, split, ("hr@16",), features=features
    )[0]
    assert row.segments["cold items"].targets == 2
    assert row.segments["cold items"].metrics["hr@16"] == 1.0
