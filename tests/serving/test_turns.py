"""Work that waits for a thread: taken in turn, in the caller's context, without a thread being woken for each."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from serving.turns import Turns

NAME: ContextVar[str] = ContextVar("NAME")


def test_work_is_taken_in_turn_by_as_many_threads_as_there_are_and_in_the_callers_context() -> None:
    turns, seen, gate = Turns(1, "turns"), [], threading.Event()

    def work(number: int) -> tuple[int, str]:
        gate.wait(5)
        seen.append((number, threading.current_thread().name))
        return number, NAME.get()

    async def ask(number: int) -> tuple[int, str]:
        NAME.set(f"caller {number}")
        return await turns.run(work, number)

    async def all_of_them() -> list[tuple[int, str]]:
        asking = [asyncio.create_task(ask(number)) for number in range(50)]
        await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.gather(*asking)

    assert asyncio.run(all_of_them()) == [(number, f"caller {number}") for number in range(50)]
    assert [number for number, _ in seen] == list(range(50))
    assert {name for _, name in seen} == {"turns_0"}
    turns.shutdown()


def test_what_a_call_raises_its_caller_gets_and_the_next_is_answered_all_the_same() -> None:
    turns = Turns(2, "turns")

    async def both() -> int:
        failing, fine = turns.run(int, "no number"), turns.run(int, "7")
        with pytest.raises(ValueError, match="no number"):
            await failing
        return await fine

    assert asyncio.run(both()) == 7
    assert asyncio.run(both()) == 7  # and in a loop that begins later
    turns.shutdown()


def test_work_of_callers_that_are_gone_is_not_begun() -> None:
    turns, begun, gate = Turns(1, "turns"), [], threading.Event()

    async def leave() -> None:
        first = asyncio.create_task(turns.run(gate.wait, 5))
        gone = asyncio.create_task(turns.run(begun.append, "gone"))
        stays = asyncio.create_task(turns.run(begun.append, "stays"))
        await asyncio.sleep(0.01)
        gone.cancel()
        gate.set()
        await asyncio.gather(first, stays)

    asyncio.run(leave())
    assert begun == ["stays"]
    turns.shutdown()


def test_a_slow_call_does_not_hold_up_those_that_another_thread_can_take() -> None:
    turns, gate = Turns(2, "turns"), threading.Event()

    async def overtake() -> list[int]:
        slow = asyncio.create_task(turns.run(gate.wait, 5))
        await asyncio.sleep(0.01)
        quick = await asyncio.gather(*(turns.run(int, number) for number in range(20)))
        assert not slow.done()
        gate.set()
        assert await slow
        return quick

    assert asyncio.run(overtake()) == list(range(20))
    turns.shutdown()


def test_after_a_shutdown_nothing_begins_and_the_threads_end() -> None:
    turns = Turns(2, "ending")

    async def ask() -> int:
        return await turns.run(int, "7")

    assert asyncio.run(ask()) == 7
    turns.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ending")]
    with pytest.raises(RuntimeError, match="after a shutdown"):
        asyncio.run(ask())
