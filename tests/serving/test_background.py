"""Work that repeats beside the requests."""

from __future__ import annotations

import threading
import time

from serving.background import Repeating


def test_a_long_first_call_does_not_hold_up_the_second() -> None:
    calls, second = [0], threading.Event()

    def action() -> None:
        calls[0] += 1
        if calls[0] == 1:
            time.sleep(1)
        else:
            second.set()

    repeating = Repeating("test", action, 0.01)
    repeating.start()
    assert second.wait(4)
    repeating.stop()
