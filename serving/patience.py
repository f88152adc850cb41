"""Reads that an answer can do without: waited for within a budget, and spared for a moment after one that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from core.errors import DatabaseUnavailable

BUDGET_S = 1.0  # a slower Postgres counts as away
REST_S = 1.0  # after a failure Postgres is left alone this long, so that an outage costs no request its budget
READERS = 4

P = ParamSpec("P")
T = TypeVar("T")


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
