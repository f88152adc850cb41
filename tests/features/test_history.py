"""The live history in a model's rows."""

from __future__ import annotations

import numpy as np

from core.settings import DEFAULT_KIND_WEIGHTS, Settings
from core.store import open_store
from features.history import live_history
from features.interactions import IdTable, Interactions
from tests.streams import EPOCH, Writer, view


def test_a_live_history_is_oldest_first_in_the_models_rows_without_unknown_items(settings: Settings) -> None:
    items = IdTable(np.array(["i1", "i2", "i3"], dtype=np.object_))
    with open_store(settings) as store:
        Writer(store).write(
            [view(1, "ann", "i3"), view(2, "ann", "new"), view(3, "ann", "i1", "purchase"), view(4, "bob", "i2")]
        )
        history = store.history.history("ann", 10)
    rows, times, weights = live_history(history.events, items, DEFAULT_KIND_WEIGHTS)
    assert rows.tolist() == [2, 0]
    assert rows.dtype == np.int32
    assert times.tolist() == [EPOCH.timestamp() + 60, EPOCH.timestamp() + 180]
    assert weights.tolist() == [1.0, 3.0]
    assert history.seen == {"i1", "i3", "new"}


def test_live_and_trained_histories_weigh_the_same(settings: Settings) -> None:
    events = [
        view(1, "ann", "a", "rating", 4),
        view(2, "ann", "b", "dislike"),
        view(3, "ann", "c", "purchase", -1),
        view(4, "ann", "d", "odd"),
    ]
    with open_store(settings) as store:
        Writer(store).write(events)
        history = store.history.history("ann", 10)
    data = Interactions.from_columns(
        ["ann"] * 4, list("abcd"), [e.time.timestamp() for e in events], [e.body.kind for e in events],
        [np.nan if e.body.value is None else e.body.value for e in events],
    )  # fmt: skip
    _, times, weights = live_history(history.events, data.items, DEFAULT_KIND_WEIGHTS)
    assert weights.tolist() == data.weight.tolist()
    assert times.tolist() == data.time_s.tolist()


def test_seen_is_complete_however_short_the_history_read(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write([view(number, "ann", f"i{number}") for number in range(30)])
        history = store.history.history("ann", 5)
    assert [one.item for one in history.events] == ["i29", "i28", "i27", "i26", "i25"]
    assert history.seen == {f"i{number}" for number in range(30)}
