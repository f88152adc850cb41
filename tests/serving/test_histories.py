"""Histories: remembered, and never older than the last commit; read together; forgotten with their user."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from core.events import UserErased
from core.store import Store, open_store
from core.store.history import History, HistoryReader
from features.history import Timeline
from serving.histories import Histories
from tests.serving.world import World, ids
from tests.streams import Writer, event, view

PATH = "/v1/users/u1/recommendations"  # u1 walked from i3 to i14

# What another process of the same system does: one more event, committed when it ends.
ELSEWHERE = """
import os
from core.settings import load_settings
from core.store import open_store
from tests.streams import Writer, view
with open_store(load_settings(os.environ)) as store:
    Writer(store, "elsewhere.events").write([view(990_001, "u1", "i30")])
"""


@pytest.fixture
def elsewhere(world: World) -> Iterator[Store]:
    """The store of another process: other connections, nothing in common with ours."""
    with open_store(world.settings) as store:
        yield store


@pytest.fixture
def histories(world: World) -> Iterator[Histories]:
    """Histories of a world in which ann viewed i1."""
    world.writer.write([view(1, "ann", "i1")])
    made = Histories(world.store, 5)
    yield made
    made.close()


def test_a_history_is_the_same_object_until_an_event_is_committed_and_then_has_it(
    histories: Histories, elsewhere: Store
) -> None:
    writer = Writer(elsewhere, "elsewhere.events")
    for number in range(2, 9):  # beyond the limit, too, and into the past
        before = histories.read("ann")
        assert histories.read("ann") is before
        writer.write(
            [
                view(number, "ann", f"i{number}")
                if number % 2
                else event(number, view(number, "ann", f"i{number}").body, minutes=-number)
            ]
        )
        after = histories.read("ann")
        assert after is not before
        assert f"i{number}" in after.seen
        assert after.known
    assert [one.item for one in histories.read("ann").events] == ["i7", "i5", "i3", "i1", "i2"]


def test_columns_follow_a_history_event_by_event_and_are_what_would_be_made_anew(
    histories: Histories, elsewhere: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, kind_weights = Writer(elsewhere, "elsewhere.events"), {"view": 1.0, "dislike": -1.0}
    row_of = {f"i{number}": 40 - number for number in range(1, 13) if number != 11}
    made: list[int] = []  # how many events a timeline was made of
    of = Timeline.of

    def counted(history: History, *table: Any) -> Timeline:
        made.append(len(history.events))
        return of(history, *table)

    monkeypatch.setattr(Timeline, "of", counted)
    steps = [view(2, "ann", "i2"), view(3, "ann", "i3", "dislike"), view(-4, "ann", "i4"), view(5, "ann", "i5", value=-1.0),
             *(view(number, "ann", f"i{number}") for number in range(6, 12)), UserErased(user="ann")]  # fmt: skip
    for number, step in enumerate(steps):
        histories.read("ann").timeline(row_of, kind_weights)
        writer.write([event(100, step) if isinstance(step, UserErased) else step])
        past = histories.read("ann")
        if 5 <= number <= 6:  # nobody looks at it, and more is done
            writer.write([event(50 + number, view(0, "ann", "i1", "dislike").body, minutes=number + 2.5)])
            past = histories.read("ann")
        told, anew = (
            past.timeline(row_of, kind_weights),
            of(History(past.events, past.seen, past.kinds, past.refused), row_of, kind_weights),
        )
        assert past.timeline(row_of, kind_weights) is told
        assert (told.items, told.kinds, told.rows.tolist()) == (anew.items, anew.kinds, anew.rows.tolist())
        assert (told.times_s.tolist(), told.weights.tolist()) == (anew.times_s.tolist(), anew.weights.tolist())
        seen = {row_of[item] for item in past.seen if item in row_of}
        assert set(told.seen.tolist()) == set(anew.seen.tolist()) == seen, number
        assert set(told.refused.tolist()) == set(anew.refused.tolist())
    assert histories.read("ann").timeline(row_of, kind_weights).items == ()
    assert made == [1, 4, 5, 0]  # at first; when one came late; with one the table does not know; and with nothing left


def test_nothing_is_forgotten_however_much_is_done_before_anybody_looks(histories: Histories, elsewhere: Store) -> None:
    row_of, kind_weights = {f"i{number}": number for number in range(20)}, {"view": 1.0}
    histories.read("ann").timeline(row_of, kind_weights)
    writer = Writer(elsewhere, "elsewhere.events")
    for number in range(2, 14, 2):  # read each time, and looked at never: more than the five of a history
        writer.write([view(number, "ann", f"i{number}"), view(number + 1, "ann", f"i{number + 1}")])
        past = histories.read("ann")
    assert set(past.timeline(row_of, kind_weights).seen.tolist()) == set(range(1, 14))


def test_someone_nobody_heard_of_is_known_from_the_first_event_on(histories: Histories, elsewhere: Store) -> None:
    assert histories.read("new").events == ()
    assert histories.read("new") is histories.read("new")
    Writer(elsewhere, "elsewhere.events").write([view(2, "new", "i2")])
    assert [one.item for one in histories.read("new").events] == ["i2"]


def test_those_who_wait_are_read_together_and_each_gets_their_own(
    histories: Histories, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.writer.write([view(10 + n, f"user{n}", f"i{n}") for n in range(40)])
    batches: list[int] = []
    changed = HistoryReader.changed

    async def counted(reader, known, limit, within_s):
        batches.append(len(known))
        return await changed(reader, known, limit, within_s)

    monkeypatch.setattr(HistoryReader, "changed", counted)

    async def everybody() -> list[tuple[str, ...]]:
        pasts = await asyncio.gather(*(histories.current(f"user{n % 40}") for n in range(80)))
        return [tuple(one.item for one in past.events) for past in pasts]

    assert asyncio.run(everybody()) == [(f"i{n % 40}",) for n in range(80)]
    assert len(batches) <= 4
    assert max(batches) >= 30


def test_who_comes_while_a_read_is_under_way_waits_for_it_but_not_long(
    histories: Histories, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.writer.write([view(10 + n, f"user{n}", f"i{n}") for n in range(40)])
    batches: list[list[str]] = []
    changed, free = HistoryReader.changed, asyncio.Event()

    async def counted(reader, known, limit, within_s):
        batches.append(list(known))
        if "user0" in known:
            await asyncio.wait_for(free.wait(), 5)
        return await changed(reader, known, limit, within_s)

    monkeypatch.setattr(HistoryReader, "changed", counted)

    async def ask() -> list[frozenset[str]]:
        first = asyncio.create_task(histories.current("user0"))
        await asyncio.sleep(0)
        few = [asyncio.create_task(histories.current(f"user{n}")) for n in (1, 2, 3)]
        found = [(await one).seen for one in few]  # they do not wait until the first has ended
        free.set()
        found.append((await first).seen)
        for n in range(10, 40):  # one after the other, and each is answered
            found.append((await histories.current(f"user{n}")).seen)
        return found

    assert asyncio.run(ask()) == [{f"i{n}"} for n in (1, 2, 3, 0, *range(10, 40))]
    assert batches[:2] == [["user0"], ["user1", "user2", "user3"]]


def test_what_postgres_refuses_is_the_fault_of_its_own_request_alone(histories: Histories) -> None:
    async def both() -> list[object]:
        asked = (histories.current(user) for user in ("ann", "\ud800", "nobody"))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    ann, refused, nobody = asyncio.run(both())
    assert [one.item for one in ann.events] == ["i1"]  # type: ignore[attr-defined]
    assert isinstance(refused, UnicodeEncodeError)
    assert nobody.events == ()  # type: ignore[attr-defined]


def test_who_was_erased_elsewhere_is_forgotten_here(histories: Histories, elsewhere: Store) -> None:
    histories.forget_erased()
    histories.read("ann")
    histories.read("ben")
    Writer(elsewhere, "elsewhere.events").write([event(2, UserErased(user="ann"))])
    assert histories._last_known("ann").seen == {"i1"}  # all that is left while Postgres cannot be asked
    histories.forget_erased()
    assert histories._last_known("ann").seen == frozenset()
    assert set(histories._remembered) == {"ben"}
    assert histories.read("ann").events == ()


def test_memory_is_bounded_by_users_and_by_events(histories: Histories, world: World, monkeypatch) -> None:
    world.writer.write([view(10 + n, f"user{n}", f"i{n}") for n in range(6)])
    monkeypatch.setattr("serving.histories.REMEMBERED_EVENTS", 4)
    for n in range(6):
        histories.read(f"user{n}")
    assert list(histories._remembered) == ["user2", "user3", "user4", "user5"]
    monkeypatch.setattr("serving.histories.REMEMBERED_USERS", 2)
    histories.read("nobody")
    assert list(histories._remembered) == ["user5", "nobody"]
    assert histories._events == 1


def test_an_event_that_another_process_committed_is_in_the_very_next_answer(full_world: World) -> None:
    with full_world.served() as client:
        first, again = (client.get(PATH, params={"limit": 40}).json() for _ in range(2))
        assert ids(first) == ids(again)
        assert "i30" in ids(again)
        environ = {**full_world.settings.environ(), "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
        subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, env=environ, timeout=60)
        after = client.get(PATH, params={"limit": 40}).json()  # no waiting
        assert "i30" not in ids(after)
        assert "i31" in ids(after)[:3]
