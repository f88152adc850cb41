"""What bench/serve.py works with: the server as a process of its own, and a writer that makes its users' histories new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import psutil

from bench.serve_world import item, user
from core.events import Event, Interaction
from core.settings import Settings
from core.store import Store
from core.store.events import Coordinates, Received

ROOT = Path(__file__).parents[1]
BATCH_EVENTS = 25
AHEAD_EVENTS = 100


def path_of(number: int) -> str:
    """The request for one user's recommendations."""
    return f"/v1/users/{user(number)}/recommendations"


def computed_path(number: int) -> str:
    """The same, with a place left to chance: such an answer is not kept, so that each is computed."""
    return f"{path_of(number)}?exploration=0.1"


def own_mb(pid: int | str = "self") -> float:
    """What a process has written and shares with nobody, in MB. Pages of libraries are left out: whether they are a process's own
    depends on who else runs, and of LLVM alone they are 70 MB."""
    with open(f"/proc/{pid}/smaps_rollup") as rolled:
        return sum(int(line.split()[1]) for line in rolled if line.startswith("Private_Dirty")) * 1024 / 1e6


class Server:
    """`headwater serve` in a process of its own, on these cores; ready when it serves so many models."""

    def __init__(self, settings: Settings, cores: str, models: int) -> None:
        self.port = settings.port
        environ = {**os.environ, **settings.environ(), "OMP_NUM_THREADS": "1"}
        command = ["taskset", "-c", cores, sys.executable, "-m", "headwater", "serve"]
        began = time.perf_counter()
        self._log = (settings.home / "serve.log").open("w")
        self._process = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=self._log, stdout=self._log)
        while True:
            with suppress(urllib.error.URLError, ConnectionError):
                answer = json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=60))
                if len(answer["models"]) == models:
                    break
            if self._process.poll() is not None:
                raise SystemExit(f"the server ended: see {self._log.name}")
            time.sleep(0.05)
        self.ready_s = time.perf_counter() - began
        self._inner = psutil.Process(self._process.pid)

    @property
    def rss_mb(self) -> float:
        """Memory that is really its own, in MB."""
        return own_mb(self._process.pid)

    @property
    def cpu_s(self) -> float:
        """CPU seconds spent up to now, all threads."""
        times = self._inner.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


class Writer:
    """Commits a new event of each of `users` in turn, a little ahead of the requests, which take the users in that order."""

    def __init__(self, store: Store, n_items: int, users: Iterator[int]) -> None:
        self._store, self._n_items, self._users = store, n_items, users
        self._claim = store.events.claim("bench", "bench", 0)
        self._rng = np.random.default_rng()
        self._number = count(self._claim.next_offset)
        self._ready: deque[str] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        while len(self._ready) < AHEAD_EVENTS:
            time.sleep(0.01)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def next_path(self) -> str | None:
        """The request for the next user who has just done something; None when there is none yet."""
        return self._ready.popleft() if self._ready else None

    def paths(self) -> Iterator[str]:
        """The same one after the other, waiting where there is none yet."""
        while True:
            if (path := self.next_path()) is not None:
                yield path
            else:
                time.sleep(0.0005)

    def _run(self) -> None:
        while not self._stop.is_set():
            if len(self._ready) >= AHEAD_EVENTS:
                time.sleep(0.001)
                continue
            batch = [next(self._users) for _ in range(BATCH_EVENTS)]
            self._store.events.append([self._event(one) for one in batch], [], [])
            self._ready.extend(map(path_of, batch))

    def _event(self, number: int) -> Received:
        at = next(self._number)
        body = Interaction(user=user(number), item=item(int(self._n_items ** self._rng.random()) - 1), kind="view")
        event = Event(f"live-{time.time_ns()}-{at}", "/bench", "interaction.view", datetime.now(UTC), body)
        return Received(event, Coordinates("bench", "bench", 0, at), 100)
