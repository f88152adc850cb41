"""The roles as processes (ingest, serve, ...): started together, restarted when one dies, stopped in order."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

import msgspec

from core.settings import Settings
from headwater.process import GuardedProcess, tail

log = logging.getLogger(__name__)

ROLES = ("ingest", "serve", "schedule", "generate-worker")
LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60.0  # a role that ran this long begins again with the shortest pause
PASSED_ON = ("PATH", "HOME", "LANG", "PYTHONPATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


class Role:
    """One role's process. Its log is <home>/logs/<role>.log."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.log = settings.home.absolute() / "logs" / f"{name}.log"
        self._environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | settings.environ()
        self._failures = 0
        self._start()

    def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "headwater", self.name]
        self._began = time.monotonic()
        self._process = GuardedProcess(command, log=self.log, stop_signal="TERM", environ=self._environ)

    @property
    def pid(self) -> int:
        """The process's number; another after a restart."""
        return self._process.pid

    def watch(self, stop: Event) -> None:
        """Start the process again whenever it ends, after a pause that grows, until `stop` is set."""
        while not stop.wait(0.5):
            if self._process.alive():
                continue
            self._failures = 1 if time.monotonic() - self._began > STEADY_AFTER_S else self._failures + 1
            pause_s = min(LONGEST_PAUSE_S, 2.0**self._failures)
            log.error(
                "role %s ended; it starts again in %.0f s. Its last words:\n%s", self.name, pause_s, tail(self.log)
            )
            if not stop.wait(pause_s):
                self._start()

    def stop(self) -> None:
        """Ask the process to finish what it is doing and end."""
        self._process.stop()


@contextmanager
def running_roles(settings: Settings, names: Sequence[str] = ROLES) -> Iterator[list[Role]]:
    """The named roles running and watched; stopped in reverse order on leaving. `settings` must name real services."""
    stop = Event()
    roles: list[Role] = []
    watchers: list[Thread] = []
    try:
        for place, name in enumerate(names):
            # One machine, several processes: each shows its metrics on a port of its own.
            port = settings.metrics_port + place if settings.metrics_port else 0
            roles.append(Role(name, msgspec.structs.replace(settings, metrics_port=port)))
            watchers.append(Thread(target=roles[-1].watch, args=(stop,), name=f"watch-{name}", daemon=True))
            watchers[-1].start()
        yield roles
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join()
        for role in reversed(roles):
            role.stop()
