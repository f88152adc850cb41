"""The front door: command line, demo, embedded Postgres and broker. It may import every room; no room imports it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """While modules are imported: what they make stays, and to look through it for garbage again and again takes a fifth of
    the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
