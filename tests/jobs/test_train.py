"""A training run from events to live models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, Self

import numpy as np
import pytest

import jobs.train
from core.errors import Conflict, GateRefused, NotFound
from core.events import ItemChanged
from core.settings import Settings
from core.store import open_store
from features.interactions import Interactions
from features.snapshot import take_snapshot
from jobs.context import JobContext, job_context
from jobs.fitting import bounded, config_of
from jobs.train import evaluate_own, train
from models import RECOMMENDERS
from models.blend import Blend
from models.evaluation import Row
from models.index import INDEX_FILE
from models.protocols import time_split
from models.recommender import UserBatch
from models.transitions import Transitions
from tests.streams import EPOCH, Writer, event, habits, view


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def test_walkers_are_learned_and_the_models_go_live(context: JobContext) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    trained = {one.version.name: one for one in train(context.settings.models_to_train, context)}
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


@dataclass(frozen=True)
class Faulty(Transitions):
    """Transitions that went wrong in training, as `harm` says; they do well before the split's cut."""

    harm: ClassVar[str] = ""

    @classmethod
    def fit(cls, data: Interactions, *args: Any, **kwargs: Any) -> Self:
        fitted = super().fit(data, *args, **kwargs)
        whole = data.n_items == 40 and len(data) == 60 * 20
        factor = {"broken": np.nan, "empty": 0.0}.get(cls.harm, 1.0) if whole else 1.0
        return replace(fitted, next_items=fitted.next_items * np.float32(factor))


@pytest.mark.parametrize("harm", ["broken", "empty"])
def test_a_model_that_went_wrong_is_refused_recorded_with_its_figures_and_the_one_before_serves(
    context: JobContext, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    (good,) = train(["transitions"], context)
    monkeypatch.setitem(RECOMMENDERS, "transitions", Faulty)
    monkeypatch.setattr(Faulty, "harm", harm)
    (found,) = train(["transitions"], context)
    assert found.version.state == "refused"
    assert found.version.verdict.startswith(harm)
    assert found.version.metrics["metrics"]["ndcg@10"] > 0
    assert context.registry.live()["transitions"] == good.version


def test_figures_that_are_no_numbers_are_recorded_as_missing(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    measured = jobs.train.evaluate

    def broken(models: Any, *args: Any) -> list[Row]:
        rows = measured(models, *args)
        return [replace(one, metrics=dict.fromkeys(one.metrics, np.nan)) for one in rows]

    monkeypatch.setattr(jobs.train, "evaluate", broken)
    (found,) = train(["transitions"], context)
    assert found.version.state == "refused"
    assert "nan" in found.version.verdict
    assert found.version.metrics["metrics"] == {"hr@10": None, "ndcg@10": None}


def test_the_blend_is_judged_with_weights_it_learned_before_the_cut_and_stored_with_members_that_have_any(
    context: JobContext,
) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    trained = {one.version.name: one for one in train(["blend", "transitions", "popularity"], context)}
    assert list(trained) == ["popularity", "transitions", "blend"]
    version = trained["blend"].version
    weights, members = version.config["weights"], version.config["members"]
    assert len(weights) == len(members) > 0
    assert all(weight > 0 for weight in weights)
    assert "transitions" in {member["name"] for member in members}
    blend = RECOMMENDERS["blend"].load(context.registry.open(version))
    assert blend.config.weights == tuple(weights)
    if version.state == "refused":  # everyone walks alike, so nothing can be ahead of transitions
        assert "transitions, which it would replace" in version.verdict
    data = jobs.train.read(take_snapshot(context.store.events, context.artifacts, context.reporter), context)
    split = time_split(data)
    learned = Blend.fit(split.train, config_of("blend", context))
    used = [weight for weight in learned.config.weights if weight > 0]
    assert weights == pytest.approx(used)


def test_what_is_trained_by_default_are_members_of_the_blend(context: JobContext) -> None:
    settings = {name: getattr(context.settings, name) for name in Settings.__struct_fields__}
    more = replace(
        context, settings=Settings(**{**settings, "train_models": "popularity,als,blend,graph", "device": "cpu"})
    )
    members = {member.name: member.config for member in config_of("blend", more).members}
    assert members["als"] == {"device": "cpu"}
    assert members["graph"] == {}
    assert {"transitions", "linear"} <= members.keys()


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


def test_lists_are_held_against_the_catalogues_categories(context: JobContext) -> None:
    """Two halves of the catalogue, one category each; who walks in one half is shown that half, by all but popularity."""
    walks = [
        view(user * 20 + step, f"u{user}", f"{half}{(user * 3 + step) % 20}")
        for user, half in ((user, "ab"[user % 2]) for user in range(60))
        for step in range(20)
    ]
    items = [
        event(5000 + ix, ItemChanged(item=f"{half}{ix % 20}", categories=(half,)))
        for ix, half in enumerate("a" * 20 + "b" * 20)
    ]
    Writer(context.store).write([*walks, *items])
    rows = evaluate_own(["popularity", "transitions"], context)
    off = {row.model: row.as_json()["lists"]["miscalibration"] for row in rows}
    assert off["transitions"] < 0.05 < 0.3 < off["popularity"]


def test_a_sample_of_cases_is_asked_where_all_would_take_too_long(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    data = jobs.train.read(take_snapshot(context.store.events, context.artifacts, context.reporter), context)
    split = time_split(data)
    assert bounded(split) is split
    monkeypatch.setattr("jobs.fitting.FEWEST_CASES", 10)
    monkeypatch.setattr("jobs.fitting.CELLS", 40 * 25)
    sample = bounded(split)
    assert (len(sample), len(sample.target_ix)) == (25, 25)
    for at in range(25):
        same = np.flatnonzero((split.user_ix == sample.user_ix[at]) & (split.end == sample.end[at]))
        assert split.target_ix[same].tolist() == [sample.target_ix[at]]
