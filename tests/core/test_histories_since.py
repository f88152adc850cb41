"""What a user did since the last read is read alone, and makes the history that reading all of it makes; by an event loop too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from core.errors import DatabaseUnavailable
from core.events import UserErased
from core.store import Store, open_store
from core.store.history import NEVER_READ, PREPARE, Changed, Versioned
from core.store.unthreaded import Unthreaded
from tests.serving.world import World, world
from tests.streams import Writer, event, view

__all__ = ["world"]

LIMIT = 4
USERS = ("ann", "ben", "cleo", "dan")


@pytest.fixture
def store(world: World) -> Iterator[Store]:
    """A store of its own on the same namespace."""
    with open_store(world.settings) as made:
        yield made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def something(rng: random.Random, number: int) -> object:
    """Of few users, items and minutes, so that much happens at once, late, twice, or after an erasure."""
    user = rng.choice(USERS)
    if rng.random() < 0.012:
        return event(number, UserErased(user=user), minutes=number)
    again = rng.randrange(max(1, number)) if rng.random() < 0.1 else number
    body = view(again, user, f"i{rng.randrange(3)}", rng.choice(("view", "cart")), rng.choice((None, -1.0))).body
    return event(again, body, minutes=rng.randrange(6) if rng.random() < 0.4 else number)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_continued_is_what_reading_all_of_it_gives(store: Store, seed: int) -> None:
    rng, writer = random.Random(seed), Writer(store)
    known = dict.fromkeys(USERS, NEVER_READ)
    continued = 0
    for start in range(0, 120, 3):
        writer.write([something(rng, start + n) for n in range(rng.choice((1, 1, 3)))])  # type: ignore[misc]
        changed = store.history.changed(known, LIMIT)
        continued += sum(known[user].version not in (-1, None) for user in changed)
        known |= changed
        for user in USERS:
            assert known[user].history == store.history.history(user, LIMIT), (user, start)
        assert store.history.changed(known, LIMIT) == {}
    assert continued > 10


def test_whatever_an_item_is_called_it_is_read_as_it_was_written(store: Store) -> None:
    items = ['say "hi"', "back\\slash", "new\nline", "Straße 🎈", "{}", "null", "\x7f"]
    values = [None, -1.0, 0.1, 1e-9, 123456789.125, 5.0, 0.0]
    made = [
        event(n, view(n, "eve", item, "rating", value).body, minutes=n)
        for n, (item, value) in enumerate(zip(items, values, strict=True))
    ]
    Writer(store).write(made)
    read = store.history.history("eve", 50).events
    assert [(one.item, one.kind, one.value) for one in read] == [
        (item, "rating", value) for item, value in zip(items[::-1], values[::-1], strict=True)
    ]
    assert [one.time for one in read] == [one.time for one in made[::-1]]
    assert all(one.time.utcoffset() is not None for one in read)


def test_only_what_is_new_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(store)
    writer.write([view(n, "ann", f"i{n}") for n in range(20)])
    before = store.history.changed({"ann": NEVER_READ}, 50)["ann"]
    told = Versioned(before.version, before.history.__class__(before.history.events[:1], frozenset()), before.newest)
    writer.write([view(20, "ann", "i20")])
    after = store.history.changed({"ann": told}, 50)["ann"].history  # what it was not told of it does not look for
    assert [one.item for one in after.events] == ["i20", "i19"]


def test_an_event_loop_reads_what_a_thread_does(store: Store, threads: ThreadPoolExecutor) -> None:
    writer = Writer(store)
    writer.write([view(n, USERS[n % 3], f"i{n}") for n in range(12)])
    known = dict.fromkeys((*USERS, "nobody"), NEVER_READ)

    async def reading() -> list[Changed]:
        reader = store.history.reader(threads)
        whole = await reader.changed(known, LIMIT, 5)
        same = await reader.changed(known | whole, LIMIT, 5)
        reader.close()
        return [whole, same]

    assert asyncio.run(reading()) == [store.history.changed(known, LIMIT), {}]


def test_a_connection_that_died_is_made_anew_and_a_late_reading_is_given_up(
    store: Store, threads: ThreadPoolExecutor
) -> None:
    def slept(seconds: float):
        rows = yield "SELECT pg_backend_pid(), pg_sleep(%s)::text", (seconds,)
        return rows[0][0]

    def end(pid: int) -> None:
        with store.database.read() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    async def ask() -> list[int]:
        one = Unthreaded(store.database, PREPARE, threads)
        pids = [await one.read(lambda: slept(0), 5)]
        pids.append(await one.read(lambda: slept(0), 5))
        await asyncio.to_thread(end, pids[-1])
        await asyncio.sleep(0.1)  # the loop hears of it
        pids.append(await one.read(lambda: slept(0), 5))
        end(pids[-1])  # and where it does not
        pids.append(await one.read(lambda: slept(0), 5))
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(DatabaseUnavailable, match=r"longer than 0\.5 s"):
            await one.read(lambda: slept(5), 0.5)
        ticking.cancel()
        assert ticks > 5  # nobody else waited
        pids.append(await one.read(lambda: slept(0), 5))
        one.close()
        await asyncio.sleep(0)
        return pids

    pids = asyncio.run(ask())
    assert pids[0] == pids[1]
    assert len(set(pids)) == 4
