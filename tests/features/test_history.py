"""The live history in a model's rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.settings import DEFAULT_KIND_WEIGHTS, Settings
from core.store import open_store
from core.store.history import History, HistoryEvent, _continued
from features.history import Timeline
from features.interactions import Interactions
from models.recommender import UserBatch
from models.user_kernel import positives
from tests.streams import EPOCH, Writer, view


def test_a_live_history_is_oldest_first_in_the_models_rows_without_unknown_items(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write(
            [view(1, "ann", "i3"), view(2, "ann", "new"), view(3, "ann", "i1", "purchase"), view(4, "bob", "i2")]
        )
        history = store.history.history("ann", 10)
    told = Timeline.of(history, {"i1": 0, "i2": 1, "i3": 2}, DEFAULT_KIND_WEIGHTS)
    assert told.rows.tolist() == [0, -1, 2]
    own = np.arange(3, dtype=np.int32)
    rows, times, weights = positives(own, told.rows, told.times_s, told.weights)
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
    told = Timeline.of(history, dict(zip("abcd", range(4), strict=True)), DEFAULT_KIND_WEIGHTS)
    assert told.rows.tolist() == [3, 2, 1, 0]
    assert told.weights[::-1].tolist() == data.weight.tolist()
    assert told.times_s[::-1].tolist() == data.time_s.tolist()
    assert sorted(told.refused.tolist()) == [1, 2]


def test_seen_is_complete_however_short_the_history_read(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write([view(number, "ann", f"i{number}") for number in range(30)])
        history = store.history.history("ann", 5)
    assert [one.item for one in history.events] == ["i29", "i28", "i27", "i26", "i25"]
    assert history.seen == {f"i{number}" for number in range(30)}


KINDS = ("view", "purchase", "like", "dislike", "odd")
done = st.builds(
    HistoryEvent, item=st.sampled_from([f"i{n}" for n in range(8)]), kind=st.sampled_from(KINDS),
    time=st.just(EPOCH), value=st.sampled_from([None, None, 3.0, -1.0]),
)  # fmt: skip
LIMIT = 5


def facts(told: Timeline) -> tuple[object, ...]:
    """What a timeline says, in one order."""
    columns = (told.items, told.kinds, told.rows.tolist(), told.times_s.tolist(), told.weights.tolist())
    return (*columns, set(told.seen.tolist()), set(told.refused.tolist()), told.strongest())


@given(steps=st.lists(st.lists(done, min_size=1, max_size=3), max_size=6), known=st.integers(0, 8))
def test_a_timeline_that_was_continued_says_what_one_made_anew_does(
    steps: list[list[HistoryEvent]], known: int
) -> None:
    row_of = {f"i{n}": 7 - n for n in range(known)}
    history = History((), frozenset())
    told: Timeline | None = Timeline.of(history, row_of, DEFAULT_KIND_WEIGHTS)
    for new in steps:
        history = _continued(history, tuple(new), LIMIT)
        anew = Timeline.of(history, row_of, DEFAULT_KIND_WEIGHTS)
        assert anew.stop <= 8
        assert anew.holds(row_of, DEFAULT_KIND_WEIGHTS)
        told = told.then(history.events[: len(new)], len(history.events)) if told else None
        assert (told is None) == (not history.seen <= row_of.keys())
        if told is not None:
            assert facts(told) == facts(anew)


some_done = st.tuples(st.integers(-1, 6), st.sampled_from([-1.0, 0.0, 0.5, 3.0]))


@given(newest_first=st.lists(some_done, max_size=12), own=st.lists(st.integers(-1, 9), max_size=5))
def test_of_what_was_done_a_model_is_told_what_it_knows_and_the_user_liked_as_a_batch_has_it(
    newest_first: list[tuple[int, float]], own: list[int]
) -> None:
    rows, m = np.array([row for row, _ in newest_first], np.int32), len(newest_first)
    weights, times = np.array([weight for _, weight in newest_first], np.float32), np.arange(m, 0.0, -1)
    of_model = np.array([own[row] if 0 <= row < len(own) else -1 for row in rows], np.int32)
    expected = UserBatch.from_histories([(of_model, times, weights)], [99.0])
    found = UserBatch.of_one(positives(np.array(own, np.int32), rows, times, weights), 99.0)
    for name in ("rows", "indptr", "items", "times_s", "weights", "now_s"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one.tolist(), one.dtype) == (other.tolist(), other.dtype)


@given(st.lists(done, max_size=12))
def test_the_strongest_thing_done_with_an_item_is_told_of_equal_ones_the_newest(events: list[HistoryEvent]) -> None:
    told = Timeline.of(History(tuple(events), frozenset()), {}, DEFAULT_KIND_WEIGHTS)
    kinds: dict[str, list[str]] = {}
    for event in events:
        kinds.setdefault(event.item, []).append(event.kind)
    strength = {kind: DEFAULT_KIND_WEIGHTS.get(kind, 1.0) for kind in KINDS}
    assert told.strongest() == {item: max(own, key=strength.__getitem__) for item, own in kinds.items()}


def test_a_timeline_holds_until_the_table_has_grown_and_may_know_what_it_did_not() -> None:
    history = History(tuple(HistoryEvent(item, "view", EPOCH, None) for item in "ab"), frozenset("abc"))
    row_of = {"a": 0}
    unknown = Timeline.of(history, row_of, DEFAULT_KIND_WEIGHTS)
    assert unknown.rows.tolist() == [0, -1]
    assert unknown.seen.tolist() == [0]
    assert unknown.holds(row_of, DEFAULT_KIND_WEIGHTS)
    row_of |= {"c": 1, "b": 2}
    assert not unknown.holds(row_of, DEFAULT_KIND_WEIGHTS)
    whole = Timeline.of(history, row_of, DEFAULT_KIND_WEIGHTS)
    assert (whole.rows.tolist(), sorted(whole.seen.tolist()), whole.stop) == ([0, 2], [0, 1, 2], 3)
    row_of["d"] = 3
    assert whole.holds(row_of, DEFAULT_KIND_WEIGHTS)
    assert not whole.holds({**row_of}, DEFAULT_KIND_WEIGHTS)
    assert not whole.holds(row_of, {**DEFAULT_KIND_WEIGHTS})
