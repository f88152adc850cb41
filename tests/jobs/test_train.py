"""A training run from events to live models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.errors import Conflict, GateRefused, NotFound
from core.settings import Settings
from core.store import open_store
from jobs.context import JobContext, job_context
from jobs.train import evaluate_own, train
from models import RECOMMENDERS
from models.index import INDEX_FILE
from models.recommender import UserBatch
from tests.streams import EPOCH, Writer, habits, view


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def test_walkers_are_learned_and_the_models_go_live(context: JobContext) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    trained = {one.version.name: one for one in train(list(RECOMMENDERS), context)}
    assert {name for name, one in trained.items() if one.version.state == "live"} >= {"popularity", "transitions"}
    live = context.registry.live()["transitions"]
    folder = context.registry.open(live)
    model = RECOMMENDERS["transitions"].load(folder)
    items = list(model.item_ids)
    asked = UserBatch.from_histories([([items.index("i7")], [EPOCH.timestamp()], [1.0])])  # type: ignore[list-item]
    found, _ = model.recommend(asked, 1)
    assert items[found[0, 0]] == "i8"
    assert live.metrics["cases"] > 0
    assert live.trained_until == EPOCH + timedelta(minutes=60 * 20 - 1)
    assert live.snapshot
    assert live.code_revision


def test_a_model_with_vectors_is_published_with_its_index(context: JobContext) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    (als,) = train(["als"], context)
    assert (context.registry.open(als.version) / INDEX_FILE).is_file()


def test_a_refused_model_is_recorded_with_its_figures_and_does_not_serve(context: JobContext) -> None:
    """Everyone takes the same two items again and again: nothing personal can be ahead of popularity."""
    events = [view(number, f"u{number}", "hit" if number % 10 else f"rare{number}") for number in range(300)]
    Writer(context.store).write(events)
    trained = {one.version.name: one for one in train(["popularity", "transitions"], context)}
    assert trained["popularity"].version.state == "live"
    assert trained["transitions"].version.state == "refused"
    assert trained["transitions"].version.verdict == trained["transitions"].verdict.reason != ""
    assert trained["transitions"].version.metrics["cases"] > 0
    assert "transitions" not in context.registry.live()
    with pytest.raises(GateRefused, match="did not pass the gate"):
        context.registry.promote("transitions", trained["transitions"].version.version, "by hand")


def test_until_leaves_out_what_came_later(context: JobContext) -> None:
    Writer(context.store).write([*habits(users=20, items=10, length=10), view(5000, "u1", "tomorrow")])
    (trained,) = train(["popularity"], context, until=EPOCH + timedelta(minutes=5000))
    model = RECOMMENDERS["popularity"].load(context.registry.open(trained.version))
    assert "tomorrow" not in list(model.item_ids)


def test_training_again_makes_the_next_version_and_retires_the_last(context: JobContext) -> None:
    Writer(context.store).write(habits(users=20, items=10, length=10))
    first, second = (train(["popularity"], context)[0].version for _ in range(2))
    assert (first.version, second.version) == (1, 2)
    assert context.registry.live()["popularity"].version == 2
    assert context.registry.rollback("popularity") == 1
    assert context.registry.live()["popularity"].version == 1


def test_training_on_nothing_says_so(context: JobContext) -> None:
    with pytest.raises(Conflict, match="publish events"):
        train(["popularity"], context)


def test_an_unknown_model_is_refused_by_name(context: JobContext) -> None:
    with pytest.raises(NotFound, match="popularity"):
        train(["oracle"], context)


def test_evaluating_on_own_events_publishes_nothing(context: JobContext) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    rows = {row.model: row for row in evaluate_own(["popularity", "transitions"], context)}
    assert rows["transitions"].metrics["hr@10"] > rows["popularity"].metrics["hr@10"]
    assert context.store.versions.versions() == []
