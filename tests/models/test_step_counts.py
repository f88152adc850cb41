"""Counts of steps: changed by new events, whenever those happened, they are the counts of everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ArtifactCorrupt
from features.interactions import Interactions
from models.recommender import UserBatch
from models.step_counts import StepCounts
from models.transitions import Transitions, TransitionsConfig

WINDOW, POWER = 3, 0.8
# user, item, time (few, so that many are the same), kind
EVENTS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 6), st.sampled_from(["view", "cart", "hide"])),
    min_size=1, max_size=30,
)  # fmt: skip


def interactions(rows: list[tuple[int, tuple[str, str, int, str]]]) -> Interactions:
    """Numbered events; the number breaks ties of time, as the key of an event does."""
    users, items, times, kinds = zip(*[row for _, row in rows], strict=True) if rows else ((), (), (), ())
    return Interactions.from_columns(users, items, times, kinds, keys=np.array([number for number, _ in rows]))


def counted(data: Interactions) -> StepCounts:
    return StepCounts.of(data, WINDOW, POWER)


def table(counts: StepCounts) -> dict[tuple[str, str], float]:
    found = counts.steps.tocoo()
    ids = counts.item_ids
    return {(ids[i], ids[j]): float(value) for i, j, value in zip(found.row, found.col, found.data, strict=True)}


@settings(max_examples=200)
@given(EVENTS, st.data())
def test_counts_brought_up_to_date_are_the_counts_of_everything_in_whatever_order_it_came(events, data):
    rows = list(enumerate(events))
    arrival = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    known, new = sorted(arrival[:cut]), arrival[cut:]
    touched = {event[0] for _, event in new}
    before = [row for row in known if row[1][0] in touched]
    found = counted(interactions(known)).changed(
        counted(interactions(before)), counted(interactions(sorted([*before, *new])))
    )
    whole = counted(interactions(rows))
    assert found.item_ids.tolist() == whole.item_ids.tolist()
    assert table(found) == pytest.approx(table(whole), rel=1e-4, abs=1e-5)


@settings(max_examples=50)
@given(EVENTS, st.integers(0, 29))
def test_a_model_of_changed_counts_recommends_as_one_that_counted_everything(events, cut):
    rows, config = list(enumerate(events)), TransitionsConfig(window=WINDOW, distance_power=POWER)
    known, whole = interactions(rows[:cut]), interactions(rows)
    if not (whole.weight > 0).any():
        return
    changed = counted(known).changed(counted(known), counted(whole))
    found, expected = Transitions.of_counts(changed, config, 1.0), Transitions.fit(whole, config)
    users = UserBatch.from_sequences(whole)
    assert np.allclose(found.scores(users), expected.scores(users), rtol=1e-4)


def test_saved_counts_come_back_and_damaged_ones_are_refused(tmp_path):
    counts = counted(interactions(list(enumerate([("u", "a", 1, "view"), ("u", "b", 2, "cart")]))))
    counts.save(tmp_path)
    assert table(StepCounts.load(tmp_path)) == table(counts) == {("a", "b"): 2.0}
    for name in ("items.json", "steps.safetensors"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ArtifactCorrupt, match="train transitions again"):
            StepCounts.load(tmp_path)
        (tmp_path / name).write_bytes(whole)
