"""Transitions brought up to date: the same as counting everything anew, whatever order events came in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from core.events import Interaction
from core.registry import base_of
from core.settings import Settings
from core.store import open_store
from features.snapshot import take_snapshot
from jobs.context import JobContext, job_context
from jobs.train import read, train
from jobs.update import COUNTS, update_transitions
from models.recommender import UserBatch
from models.transitions import Transitions
from tests.streams import EPOCH, Writer, event, habits, view

ITEMS, USERS = 40, 60


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


@pytest.fixture
def writer(context: JobContext) -> Writer:
    """Walkers are in, and transitions trained on them are live."""
    found = Writer(context.store)
    found.write(habits(users=USERS, items=ITEMS, length=20))
    train(["transitions"], context)
    assert context.registry.live()["transitions"].version == 1
    return found


def live(context: JobContext) -> Transitions:
    return Transitions.load(context.registry.open(context.registry.live()["transitions"]))


def scores(model: Transitions) -> dict[tuple[str, str], float]:
    found = model.next_items.tocoo()
    ids = model.item_ids
    return {(ids[i], ids[j]): float(v) for i, j, v in zip(found.row, found.col, found.data, strict=True)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_round_by_round_it_is_what_a_full_count_would_give(context: JobContext, writer: Writer, seed: int) -> None:
    """Late, simultaneous, refused, repeated and foreign events, of known and new users and items."""
    rng, number = random.Random(seed), 100_000
    for _ in range(4):
        events = []
        for _ in range(rng.randrange(1, 40)):
            number += 1
            kind, value = rng.choice(
                [("view", None), ("view", 2.0), ("purchase", None), ("hide", None), ("view", -1.0)]
            )
            body = Interaction(
                user=f"u{rng.randrange(USERS + 5)}", item=f"i{rng.randrange(ITEMS + 5)}", kind=kind, value=value
            )
            events.append(event(number, body, minutes=float(rng.randrange(0, 1400))))
        writer.write([*events, events[0]])
        said = update_transitions(context)
        assert "brought up to date" in said, said
        whole = Transitions.fit(read(take_snapshot(context.store.events, context.artifacts, context.reporter), context))
        found = live(context)
        assert found.item_ids.tolist() == whole.item_ids.tolist()
        assert scores(found) == pytest.approx(scores(whole), rel=1e-3, abs=1e-6)
        assert found.config == whole.config


def test_a_new_item_follows_within_one_update_and_lineage_says_where_the_version_is_from(
    context: JobContext, writer: Writer
) -> None:
    first = context.registry.live()["transitions"]
    writer.write([view(20_000 + n, f"new{n // 2}", "brand-new" if n % 2 else "i3") for n in range(60)])
    update_transitions(context)
    version = context.registry.live()["transitions"]
    assert (version.version, base_of(version)) == (2, 1)
    assert version.metrics["update"]["events"] == 60
    assert version.metrics["metrics"] == first.metrics["metrics"]
    assert version.trained_until == EPOCH + timedelta(minutes=20_059)
    assert first.snapshot in version.snapshot
    assert first.verdict in version.verdict
    assert version.code_revision
    model = live(context)
    row = int(np.searchsorted(model.item_ids, "i3"))
    users = UserBatch.from_histories([(np.array([row], np.int32), np.zeros(1), np.ones(1, np.float32))])
    assert "brand-new" in model.item_ids[model.recommend(users, 5)[0][0]]


def test_nothing_new_publishes_nothing(context: JobContext, writer: Writer) -> None:
    assert "nothing has happened" in update_transitions(context)
    writer.write([view(20_000, "u1", "i3")])
    update_transitions(context)
    assert "nothing has happened" in update_transitions(context)
    assert len(context.registry.versions("transitions")) == 2


def test_many_updates_leave_few_versions_and_a_rollback_passes_over_them(context: JobContext, writer: Writer) -> None:
    train(["transitions"], context)  # v2
    for minute in range(6):  # v3 to v8
        writer.write([view(20_000 + minute, f"u{minute}", "i3")])
        update_transitions(context)
    states = {one.version: one.state for one in context.registry.versions("transitions")}
    assert states == {1: "retired", 2: "retired", 6: "retired", 7: "retired", 8: "live"}
    assert context.artifacts.list("models/transitions") == ["00001", "00002", "00006", "00007", "00008"]
    assert context.registry.rollback("transitions") == 1
    writer.write([view(30_000, "u1", "i3")])
    assert "rolled back" in update_transitions(context)
    assert context.registry.live()["transitions"].version == 1
    train(["transitions"], context)
    writer.write([view(30_001, "u1", "i3")])
    assert "brought up to date" in update_transitions(context)


def test_only_the_counts_that_can_be_begun_from_are_kept(context: JobContext, writer: Writer) -> None:
    for _ in range(3):
        train(["transitions"], context)
    assert context.artifacts.list(COUNTS) == ["00003", "00004"]


def test_without_live_transitions_their_counts_or_the_same_weights_it_waits_for_a_training(
    context: JobContext, writer: Writer
) -> None:
    writer.write([view(20_000, "u1", "i3")])
    heavier = replace(context, settings=_with_weights(context.settings, {"view": 2.0}))
    assert "other weights" in update_transitions(heavier)
    for name in context.artifacts.list(COUNTS):
        context.artifacts.delete(f"{COUNTS}/{name}")
    assert "no counts" in update_transitions(context)
    context.store.versions.refuse("transitions", 1, "by hand")
    assert update_transitions(context) == "no transitions are live"


def test_training_until_a_time_keeps_no_counts(context: JobContext) -> None:
    Writer(context.store).write(habits(users=USERS, items=ITEMS, length=20))
    train(["transitions"], context, until=EPOCH + timedelta(minutes=1000))
    assert "no counts" in update_transitions(context)


def _with_weights(settings: Settings, weights: dict[str, float]) -> Settings:
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    return Settings(**{**values, "kind_weights": weights})
