"""Small work that repeats in a thread of its own beside the requests: refreshing, polling, publishing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from core.errors import HeadwaterError

log = logging.getLogger(__name__)

LONGEST_SHARE = 0.2  # of its time that a repeating action may work: a slow one is repeated less often


class Repeating:
    """Calls `action` from `start` on, `every_s` seconds apart, until `stop`. A failure is logged once, when it begins."""

    def __init__(self, name: str, action: Callable[[], object], every_s: float) -> None:
        self._name, self._action, self._every_s = name, action, every_s
        self._stopped = threading.Event()
        self._ran = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._failing = False

    def start(self) -> None:
        """Begin; the first call is made at once, in the thread."""
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the first call has ended, well or not; returns whether it has."""
        return self._ran.wait(timeout_s)

    def end(self) -> None:
        """Begin no other call."""
        self._stopped.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let the running call finish, as long as that takes no longer, and end."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_s)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            began = time.monotonic()
            self._call()
            # The first call reads everything, which says nothing of what the next will cost.
            pause_s = max(self._every_s, (time.monotonic() - began) / LONGEST_SHARE * self._ran.is_set())
            self._ran.set()

    def _call(self) -> None:
        try:
            self._action()
        except HeadwaterError as error:
            if not self._failing:
                log.warning("%s: %s", self._name, error)
            self._failing = True
        except Exception:
            log.exception("%s failed; it is tried again", self._name)
            self._failing = True
        else:
            if self._failing:
                log.info("%s works again", self._name)
            self._failing = False
