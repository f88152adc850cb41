"""Admission: how many requests are worked on at once, how many may wait, and a cheap word for all others.

A server that takes on more than it can do answers nobody in time. Here a request either begins within its deadline or is
refused at once, before anything of it is parsed. Requests are of four kinds, so that one that is slow (Postgres hangs, a text
takes seconds) does not hold up the others; health and metrics are always answered.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.settings import Settings
from core.telemetry import REFUSED, REQUESTS_RUNNING, REQUESTS_WAITING

ALWAYS = frozenset({"/healthz", "/readyz", "/metrics"})
LISTS = frozenset({"recommendations", "rank", "similar", "popular", "trending", "latest"})  # answered from memory
RUNNING = {"events": 16, "records": 12, "texts": 1}  # of those that wait for the broker, Postgres, the text model
WAITING_TEXTS = 4
SMOOTHING = 0.1  # how much the newest turn says about the pace,
SLACKENS = (
    16.0  # it takes so many times as long at most as turns of late: one that was held up says little of those after it
)
LATELY = 1 / 64  # how much the newest turn says about those
SURE_SHARE = 0.5  # of the longest wait: who is told to wait is to be answered, also where the pace slackens
STANDING_SHARE = 0.3  # of it, where a line has stood for longer than that, and still more come than are answered
MORE_COME = 1.25  # times as many as are answered: this is an overload
RESERVED_FILES = 128  # for what a server opens besides its clients' connections
HASTY_S = 0.1  # whoever asks again so soon after a refusal is not to keep the server busy with refusing, and is
REFUSE_AFTER_S = 0.02  # refused after this only; everybody else at once
REFUSE_EVERY_S = 0.004  # all that are due by then go out together


def kind_of(method: str, path: str) -> str | None:
    """Which limit a request falls under: "answers", "events", "records" or "texts"; None for what is always answered."""
    if path in ALWAYS:
        return None
    reads = method in ("GET", "HEAD")
    last = path[path.rfind("/") + 1 :]
    if (reads or method == "POST") and last in LISTS and not (last == "similar" and path.startswith("/v1/users/")):
        return "answers"
    if path == "/v1/events" or method in ("PUT", "DELETE"):
        return "events"
    return "texts" if path == "/v1/content" and not reads else "records"


@dataclass(eq=False)
class Waiting:
    """A request that waits for its turn: what to do when it comes."""

    begin: Callable[[], bool]  # returns whether anybody still wants the answer
    left: bool = False  # refused, or its caller is gone


class Gate:
    """At most `running` requests of a kind at once, at most `waiting` more in line. Used from the event loop alone."""

    def __init__(self, kind: str, running: int, waiting: int, wait_s: float) -> None:
        self.kind, self.wait_s = kind, wait_s
        self._limit, self._places = running, waiting
        self._running = 0
        self._waiting = 0  # without those in line that have left
        self._line: deque[Waiting] = deque()
        self._since_s = 0.0  # when the line began that there is
        self._counted_s = 0.0  # since when those are counted who
        self._came = 0  # came, and not at once again after a refusal,
        self._answered = 0  # and were answered
        self._overrun = False  # whether many more came than were answered, when that was last counted
        self._pace_s = 0.0  # between two turns, while there is a line
        self._lately_s = wait_s / max(1, waiting) / SLACKENS  # the same over more of them
        self._last_s = 0.0  # when the last turn came
        self._refused = REFUSED.labels(kind)
        REQUESTS_RUNNING.labels(kind).set_function(lambda: self._running)
        REQUESTS_WAITING.labels(kind).set_function(lambda: self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        return self._running >= self._limit and not self._worth_waiting

    @property
    def _worth_waiting(self) -> bool:
        """Whether there is a place in line from which the turn would come in time, at the pace at which turns come now.

        A line is for bursts. One that stands while more come than are answered is an overload, in which a longer one makes
        everybody wait and nobody be answered more (after CoDel: Nichols, Jacobson 2012). One that stands because each of many
        callers asks again when answered is none: to cut it would refuse the same callers for ever.
        """
        if self._waiting >= self._places:
            return False
        turn_s = (self._waiting + 1) * self._pace_s
        if turn_s <= STANDING_SHARE * self.wait_s:
            return True
        sure_s = SURE_SHARE * self.wait_s
        stands = self._waiting and time.monotonic() - self._since_s > sure_s
        return turn_s <= sure_s and not (stands and self._overrun)

    def enter(self) -> bool:
        """Take a free place; False when there is none, or others wait for it."""
        if self._running >= self._limit or self._waiting:
            return False
        self._running += 1
        self._came += 1
        return True

    def wait(self, begin: Callable[[], bool]) -> Waiting | None:
        """Stand in line; `begin` is called when it is this request's turn. None when the line is full."""
        if not self._worth_waiting:
            return None
        one = Waiting(begin)
        if not self._waiting:
            self._since_s = time.monotonic()
        self._line.append(one)
        self._waiting += 1
        self._came += 1
        return one

    def give_up(self, one: Waiting) -> None:
        """Leave the line."""
        if not one.left:
            one.left = True
            self._waiting -= 1

    def refused(self, requests: int, new: bool = True) -> None:
        """Count requests that are refused; `new` ones are not of callers who have just been counted."""
        self._refused.inc(requests)
        self._came += requests if new else 0

    def leave(self) -> None:
        """A request has been answered: the first in line that is still wanted takes its place."""
        now_s = time.monotonic()
        took_s = min(now_s - self._last_s, self.wait_s) if self._waiting else 0.0
        self._pace_s += SMOOTHING * (min(took_s, SLACKENS * self._lately_s) - self._pace_s)
        if self._waiting:
            self._lately_s += LATELY * (took_s - self._lately_s)
        self._last_s = now_s
        self._answered += 1
        if now_s - self._counted_s > SURE_SHARE * self.wait_s:
            self._overrun = self._came > MORE_COME * self._answered
            self._counted_s, self._came, self._answered = now_s, 0, 0
        while self._line:
            one = self._line.popleft()
            if one.left:
                continue
            one.left = True
            self._waiting -= 1
            if one.begin():
                return
        self._running -= 1


class Refusals:
    """Refusals of one gate, of those who asked again too soon held back. One timer and one count serve all of these that are due:
    one for each would cost as much as the refusal."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._due: deque[tuple[float, Callable[[], None]]] = deque()

    def send(self, refuse: Callable[[], None], last_s: float, loop: asyncio.AbstractEventLoop) -> float:
        """Call `refuse`, for a caller who was refused at `last_s` of the loop's time before: now, or when it is due. Returns the
        time, which is the caller's `last_s` from now on.
        """
        now_s = loop.time()
        if now_s - last_s >= HASTY_S:
            self._gate.refused(1)
            refuse()
            return now_s
        if not self._due:
            loop.call_later(REFUSE_AFTER_S, self._send, loop)
        self._due.append((now_s + REFUSE_AFTER_S, refuse))
        return now_s

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        due, until_s = self._due, loop.time() + REFUSE_EVERY_S / 2
        ready = []
        while due and due[0][0] <= until_s:
            ready.append(due.popleft()[1])
        if due:
            loop.call_later(max(REFUSE_EVERY_S, due[0][0] - loop.time()), self._send, loop)
        self._gate.refused(len(ready), new=False)
        for refuse in ready:
            refuse()


class Door:
    """What the connections of one server share. `draining`: every answer is its connection's last, and readiness is over."""

    def __init__(self, settings: Settings) -> None:
        self.gates = gates(settings)
        self.refusals = {kind: Refusals(gate) for kind, gate in self.gates.items()}
        self.max_connections = min(settings.max_connections, _open_files() - RESERVED_FILES)
        self.draining = False


def gates(settings: Settings) -> Mapping[str, Gate]:
    """The gate of each kind."""
    wait_s = settings.max_wait_ms / 1000
    running = {"answers": settings.max_running or default_running(), **RUNNING}
    waiting = {**dict.fromkeys(running, settings.max_waiting), "texts": WAITING_TEXTS}
    # Only answers can be expected within milliseconds. The others wait for a service, which has a timeout of its own.
    waits_s = {**dict.fromkeys(running, 1.0), "answers": wait_s, "texts": 10.0}
    return MappingProxyType({kind: Gate(kind, running[kind], waiting[kind], waits_s[kind]) for kind in running})


def default_running() -> int:
    """Four for each core, at least sixteen: what waits for Postgres together is read together, and costs less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(16, 4 * cores)


def _open_files() -> int:
    """How many files this process may have open; unlimited is a number too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else max(soft, 2 * RESERVED_FILES)
