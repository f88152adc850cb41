"""Waiting for Postgres, within a budget: of reads that an answer can do without, and of calls that are the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from core.errors import DatabaseUnavailable
from core.store.database import STATEMENT_S

BUDGET_S = 1.0  # a slower Postgres counts as away
REST_S = 1.0  # after a failure Postgres is left alone this long, so that an outage costs no request its budget
READERS = 4
RECORD_S = 3.0  # budget of a route that reads or writes a few rows
REPORT_S = 30.0  # of one that reads a lot, or checks a model's files

P = ParamSpec("P")
T = TypeVar("T")


class Bounded:
    """Threads for calls that wait for Postgres, none longer than `budget_s`, and no statement of theirs either. Used from the
    event loop."""

    def __init__(self, name: str, threads: int, budget_s: float) -> None:
        self.threads = ThreadPoolExecutor(threads, name)
        self._budget_s = budget_s
        self._rest_until = 0.0

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns, in the caller's context. Raises DatabaseUnavailable when that takes too long, and at once for a
        moment afterwards: what is late is still waited for by a thread, and there are only so many.
        """
        if time.monotonic() < self._rest_until:
            raise DatabaseUnavailable("Postgres did not answer a moment ago; try again in a second")
        context = copy_context()
        context.run(STATEMENT_S.set, self._budget_s)
        running = asyncio.get_running_loop().run_in_executor(self.threads, partial(context.run, call, *args, **kwargs))
        running.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, also when it is late
        done, _ = await asyncio.wait({running}, timeout=self._budget_s)
        if not done:
            running.cancel()
            self._rest_until = time.monotonic() + REST_S
            raise DatabaseUnavailable(
                f"Postgres took longer than {self._budget_s:.0f} s: try again, and look at what it is busy with. "
                "What was asked for may still be done."
            )
        return running.result()


class Patience:
    """Reads in threads of its own, so that those that hang hold up nothing else. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(READERS, name)
        self._rest_until = 0.0

    def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns. Raises DatabaseUnavailable when it does, or takes too long."""
        if time.monotonic() < self._rest_until:
            raise DatabaseUnavailable("Postgres did not answer a moment ago")
        reading = self._pool.submit(call, *args, **kwargs)
        try:
            return reading.result(BUDGET_S)
        except (DatabaseUnavailable, TimeoutError) as error:
            reading.cancel()
            self._rest_until = time.monotonic() + REST_S
            raise DatabaseUnavailable(str(error) or "Postgres took too long") from error

    def close(self) -> None:
        """Stop without waiting for those that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)
