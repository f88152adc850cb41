"""Work that waits for a thread is taken by one that is at it already, one piece after the other.

Handing a request to a thread and its answer back wakes two threads, which under load costs as much as a tenth of the work. Here
a thread that has begun goes on until nothing waits, and what it has done goes back together. What wakes it is a queue: a
ThreadPoolExecutor makes a future with a lock and a condition each time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread, main_thread
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

AWAKE_EVERY_S = 1.0  # to look whether the program ends, where nobody has said so
BACK_AFTER_S = 0.003  # how long what is done waits for what is being done
HELP_AFTER_S = (
    0.02  # how long the next waits for the thread that is at work, before another is woken: they share one lock
)


class _Turn(NamedTuple):
    since_s: float
    context: Context
    call: Callable[[], Any]
    answer: asyncio.Future[Any]


_Done = tuple[asyncio.Future[Any], Any, Exception | None]


class Turns:
    """`threads` threads for short work that computes. Used from one event loop; first come, first served."""

    def __init__(self, threads: int, name: str) -> None:
        self._name = name
        self._limit = threads
        self._threads: list[Thread] = []  # made as they are needed
        self._calls: SimpleQueue[asyncio.AbstractEventLoop | None] = SimpleQueue()  # each wakes one; None ends it
        self._working = 0
        self._watched = False  # whether somebody will look at who waits
        self._waiting: deque[_Turn] = deque()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns or raises, called by one of the threads in the caller's context. Raises RuntimeError when they
        were shut down."""
        if not self._limit:
            raise RuntimeError("nothing new begins after a shutdown")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Turn(time.monotonic(), copy_context(), partial(call, *args, **kwargs), answer))
        if not self._working:
            self._begin(loop)
        elif not self._watched:
            self._watched = True
            loop.call_later(HELP_AFTER_S, self._watch, loop)
        return await answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of ThreadPoolExecutor: nothing new begins."""
        if cancel_futures:
            self._waiting.clear()
        self._limit = 0
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake another thread where the first in line has waited for long."""
        try:
            since_s = self._waiting[0].since_s
        except IndexError:  # nobody waits, or a thread has just taken the last one
            self._watched = False
            return
        self._watched = True
        loop.call_later(HELP_AFTER_S, self._watch, loop)
        if time.monotonic() - since_s >= HELP_AFTER_S:
            self._begin(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and self._working < self._limit:
            self._working += 1
            self._calls.put(loop)
            if self._working > len(self._threads):
                thread = Thread(target=self._serve, name=f"{self._name}_{len(self._threads)}")
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        while main_thread().is_alive():
            with suppress(Empty):
                loop = self._calls.get(timeout=AWAKE_EVERY_S)
                if loop is None:
                    return
                self._work(loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        done: list[_Done] = []
        back_s = time.monotonic()
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            while True:
                try:
                    turn = self._waiting.popleft()
                except IndexError:
                    break
                if not turn.answer.cancelled():  # its caller may be gone
                    done.append(_taken(turn))
                if time.monotonic() - back_s > BACK_AFTER_S:
                    loop.call_soon_threadsafe(_settle, done)
                    done, back_s = [], time.monotonic()
            loop.call_soon_threadsafe(self._ended, loop, done)

    def _ended(self, loop: asyncio.AbstractEventLoop, done: list[_Done]) -> None:
        self._working -= 1
        _settle(done)
        self._begin(loop)  # for what came when the thread had looked for the last time


def _taken(turn: _Turn) -> _Done:
    try:
        return turn.answer, turn.context.run(turn.call), None
    except Exception as error:  # noqa: BLE001 -- the caller hears of it
        return turn.answer, None, error


def _settle(done: list[_Done]) -> None:
    for answer, value, error in done:
        if answer.done():
            continue
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)
