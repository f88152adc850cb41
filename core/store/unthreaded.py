"""Postgres read from an event loop: handing a short read to a thread and back takes longer than the read.

A reading is a generator that yields statements and is sent their rows, so that it can be done here, and by a thread (`done_on`).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg2  # type: ignore[import-untyped]
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE  # type: ignore[import-untyped]

from core.errors import DatabaseUnavailable
from core.store.database import Database

T = TypeVar("T")
Statement = tuple[str, Sequence[Any]]  # with psycopg2's placeholders
Reading = Generator[Statement, list[tuple[Any, ...]], T]

CONNECT_S = 3.0


def done_on(cursor: Any, reading: Reading[T]) -> T:
    """What a reading finds, by way of a cursor that waits."""
    try:
        statement = next(reading)
        while True:
            cursor.execute(*statement)
            statement = reading.send(cursor.fetchall())
    except StopIteration as end:
        found: T = end.value
        return found


class Unthreaded:
    """One connection, for one reading at a time, from one event loop. It is made when first needed, by one of the `threads`, and
    anew when it has died or a reading was given up."""

    def __init__(self, database: Database, prepare: str, threads: Executor) -> None:
        self._database, self._prepare, self._threads = database, prepare, threads
        self._connection: Any = None
        self._fd = -1  # of its socket, which one that has died does not tell any more
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awaited: asyncio.Future[None] | None = None  # done when there is something to read
        self._until_s = 0.0  # when what is read now takes too long, by the loop's clock
        self._watch: asyncio.TimerHandle | None = None  # looks at that, and stays from one reading to the next,
        self._looks_s = 0.0  # at this time

    async def read(self, reading: Callable[[], Reading[T]], within_s: float) -> T:
        """What a reading finds. Raises DatabaseUnavailable, also when it takes longer than this."""
        loop = asyncio.get_running_loop()
        self._until_s = loop.time() + within_s
        try:
            if self._connection is not None and self._loop is loop:
                try:
                    return await self._send(loop, reading())
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    self._drop()  # it may have died while nothing was read
            self._drop()
            async with asyncio.timeout_at(self._until_s):
                connection = await loop.run_in_executor(self._threads, self._connect)
            if self._loop is not loop:
                self._watch = None  # of a loop that has ended
            self._connection, self._fd, self._loop = connection, connection.fileno(), loop
            loop.add_reader(self._fd, self._readable)
            return await self._send(loop, reading())
        except TimeoutError as error:
            self._drop()
            raise DatabaseUnavailable(f"Postgres took longer than {within_s:g} s") from error
        except BaseException:
            self._drop()
            with self._database.translated():
                raise

    def close(self) -> None:
        """From any thread: disconnect."""
        loop = self._loop
        if loop is None or loop.is_closed():
            self._drop()
        else:
            loop.call_soon_threadsafe(self._drop)

    async def _send(self, loop: asyncio.AbstractEventLoop, reading: Reading[T]) -> T:
        try:
            statement = next(reading)
            while True:
                cursor = self._connection.cursor()
                cursor.execute(*statement)
                await self._answered(loop)
                statement = reading.send(cursor.fetchall())
        except StopIteration as end:
            found: T = end.value
            return found

    async def _answered(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until the statement sent has been done. Raises TimeoutError when that takes too long."""
        connection = self._connection
        while (state := connection.poll()) != POLL_OK:
            if self._watch is None or self._until_s < self._looks_s:
                self._look_later(loop)
            self._awaited = loop.create_future()
            if state == POLL_WRITE:
                loop.add_writer(self._fd, self._readable)
            try:
                await self._awaited
            finally:
                self._awaited = None
                if state == POLL_WRITE:
                    loop.remove_writer(self._fd)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._looks_s = self._until_s
        self._watch = loop.call_at(self._looks_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up what takes too long. One timer for many readings: one for each costs more than to send it."""
        self._watch = None
        if self._awaited is None or self._awaited.done():
            return
        if loop.time() < self._until_s:
            self._look_later(loop)
        else:
            self._awaited.set_exception(TimeoutError())

    def _readable(self) -> None:
        if self._awaited is None:
            self._drop()  # nothing was asked: that is the end of the connection
        elif not self._awaited.done():
            self._awaited.set_result(None)

    def _connect(self) -> Any:
        connection = self._database.unpooled(async_=True)
        _wait(connection)
        cursor = connection.cursor()  # which it does not hold itself
        cursor.execute(self._prepare)
        _wait(connection)
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.remove_reader(self._fd)
            connection.close()


def _wait(connection: Any) -> None:
    waiting = select.poll()  # of any descriptor: select.select stops at 1,024
    while (state := connection.poll()) != POLL_OK:
        waiting.register(connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
        if not waiting.poll(CONNECT_S * 1000):
            connection.close()
            raise psycopg2.OperationalError("no answer to a connection")
