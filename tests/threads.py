"""Work in a thread beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_a_thread(work: Callable[[threading.Event], object], within_s: float = 20.0) -> Iterator[threading.Event]:
    """`work` in a thread until the block ends, which sets the event that it is given; what it raised is raised there."""
    stop, raised = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 -- raised again below
            raised.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(within_s)
    assert not thread.is_alive(), "the thread did not end"
    if raised:
        raise raised[0]
