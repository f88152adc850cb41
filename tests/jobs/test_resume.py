"""A training run that was cut off goes on from its checkpoints, on the data it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from core.errors import Conflict
from core.events import UserErased
from core.settings import Settings
from core.store import open_store
from features.interactions import Interactions
from jobs.context import JobContext, job_context
from jobs.resume import FILE, keeps_checkpoints, running
from jobs.train import train
from models import RECOMMENDERS
from models.transitions import Transitions
from tests.streams import Writer, event, habits, view


class Slow(Transitions):
    """Transitions that write down how far they are, and are killed the first time that they learn from everything."""

    kills: ClassVar[list[str]] = []
    went_on: ClassVar[list[bool]] = []

    @classmethod
    def fit(cls, data: Interactions, *args: Any, checkpoints: Path | None = None, **kwargs: Any) -> Self:
        if checkpoints is not None:
            cls.went_on.append((checkpoints / "reached").exists())
            checkpoints.mkdir(parents=True, exist_ok=True)
            (checkpoints / "reached").touch()
        if cls.kills and len(data) >= 1200:
            raise KeyboardInterrupt(cls.kills.pop())
        return super().fit(data, *args, **kwargs)


@pytest.fixture
def context(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobContext]:
    monkeypatch.setitem(RECOMMENDERS, "transitions", Slow)
    monkeypatch.setattr(Slow, "kills", [])
    monkeypatch.setattr(Slow, "went_on", [])
    with open_store(settings) as store:
        yield job_context(settings, store)


def left(context: JobContext) -> list[Path]:
    return list((context.settings.home / "training").rglob(FILE))


def test_a_killed_run_goes_on_where_it_was_with_the_data_it_had(context: JobContext) -> None:
    assert keeps_checkpoints("transitions")
    assert not keeps_checkpoints("popularity")
    writer = Writer(context.store)
    writer.write(habits(users=60, items=40, length=20))
    Slow.kills.append("like a power cut")
    with pytest.raises(KeyboardInterrupt):
        train(["transitions"], context)
    assert Slow.went_on == [False, False]  # the gate's fit, and that of everything
    assert len(left(context)) == 1
    writer.write([view(50_000 + n, f"u{n}", "i-late") for n in range(30)])
    (trained,) = train(["transitions"], context)
    assert Slow.went_on == [False, False, True, True]
    assert trained.version.state == "live"
    assert "i-late" not in Transitions.load(context.registry.open(trained.version)).item_ids
    assert left(context) == []
    (again,) = train(["transitions"], context)
    assert Slow.went_on[4:] == [False, False]
    assert "i-late" in Transitions.load(context.registry.open(again.version)).item_ids


def test_another_seed_or_other_models_are_another_run(context: JobContext) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    Slow.kills.append("like a power cut")
    with pytest.raises(KeyboardInterrupt):
        train(["transitions"], context)
    train(["transitions"], context, seed=1)
    train(["popularity", "transitions"], context)
    assert Slow.went_on == [False] * 6  # three runs, each the gate's fit and that of everything


def test_an_erased_user_is_not_trained_on_by_a_run_that_goes_on(context: JobContext) -> None:
    writer = Writer(context.store)
    writer.write([*habits(users=60, items=40, length=20), *(view(9_000 + n, "gone", "i-gone") for n in range(3))])
    Slow.kills.append("like a power cut")
    with pytest.raises(KeyboardInterrupt):
        train(["transitions"], context)
    writer.write([event(60_000, UserErased(user="gone"))])
    (trained,) = train(["transitions"], context)
    assert "i-gone" not in Transitions.load(context.registry.open(trained.version)).item_ids
    assert Slow.went_on == [False] * 4  # two runs, each the gate's fit and that of everything


def test_a_second_run_beside_the_first_keeps_no_checkpoints(context: JobContext) -> None:
    Writer(context.store).write(habits(users=60, items=40, length=20))
    with running(context, ["transitions"], 0, None) as first, running(context, ["transitions"], 0, None) as second:
        assert first.checkpoints is not None
        assert second.checkpoints is None


def test_a_run_that_could_not_succeed_is_not_gone_on_with(context: JobContext) -> None:
    with pytest.raises(Conflict, match="publish events"):
        train(["transitions"], context)
    assert left(context) == []
