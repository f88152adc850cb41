"""Load from outside: requests at a given rate with latency from when each was due, or as many as are answered at once.

Plain sockets and HTTP/1.1 with keep-alive, as a caller in the same data centre has them; one core drives thousands a second.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import uvloop

WRK = """
local n, at = {users}, 0
request = function()
  at = (at + 1) % n
  return wrk.format("GET", string.format("{path}", at))
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("\\nanswers %d took_us %d p50_us %d p99_us %d failed %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass
class Load:
    """What came back: `waits_ms` one a good answer, `failed` everything else, of which 429s and 503s waited `refused_ms`; by how
    much requests at a rate were sent later than they were due, a connection being free (`late_ms`); and how long it all took."""

    waits_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    failed: int = 0
    took_s: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.waits_ms) / max(self.took_s, 1e-9)

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the good answers stayed below."""
        return percentile(self.waits_ms, share)


def percentile(waits_ms: list[float], share: float) -> float:
    """What this share (0 to 100) of them stayed below; not a number where there are none."""
    return float(np.percentile(waits_ms, share)) if waits_ms else float("nan")


class _Connection(asyncio.Protocol):
    """One request at a time. No task and no future for each: this client shares its core with Postgres and the broker, and the
    server waits for what it takes of it."""

    lost = False

    def __init__(self) -> None:
        self._received = b""
        self._answered: Callable[[int], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def get(self, path: str, answered: Callable[[int], None]) -> None:
        """Ask; `answered` is called with the status of the answer, 0 when the connection was lost."""
        self._answered = answered
        if self.lost:
            asyncio.get_running_loop().call_later(0.01, self._answer, 0)
        else:
            self._transport.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, gap, body = self._received.partition(b"\r\n\r\n")
        if gap and len(body) >= int(head.lower().partition(b"content-length:")[2].split(maxsplit=1)[0]):
            self._received = b""
            self._answer(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._answer(0)

    def _answer(self, status: int) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status)


def at_rate(port: int, paths: Iterator[str], rate: float, seconds: float, connections: int = 64) -> Load:
    """Send `rate` requests a second, evenly, whether answers come or not (as wrk2 does): latency counts from when each was
    due, so that a server that stalls does not hide it. Ends early where `paths` do.
    """
    return uvloop.run(_at_rate(port, paths, rate, seconds, connections))


async def _at_rate(port: int, paths: Iterator[str], rate: float, seconds: float, connections: int) -> Load:
    load, free = Load(), deque(await _connected(port, connections))
    waiting: deque[tuple[str, float]] = deque()
    began = time.perf_counter()

    def send() -> None:
        while free and waiting:
            connection, (path, due) = free.popleft(), waiting.popleft()
            connection.get(path, partial(answered, connection, due))

    def answered(connection: _Connection, due: float, status: int) -> None:
        _count(load, status, due)
        free.append(connection)
        send()

    for number, path in zip(range(int(rate * seconds)), paths, strict=False):
        due = began + number / rate
        early = due - time.perf_counter()
        if early > 0 or number % 16 == 0:  # answers are read also where the client itself is late
            await asyncio.sleep(max(0.0, early))
        waiting.append((path, due))
        if free:
            load.late_ms.append(1000 * (time.perf_counter() - due))
        send()
    while waiting or len(free) < connections:
        await asyncio.sleep(0.01)
    load.took_s = time.perf_counter() - began
    return load


def flat_out(port: int, next_path: Callable[[], str | None], connections: int, seconds: float) -> Load:
    """`connections` callers, each asking again as soon as it was answered. A `next_path` of None is waited for."""
    load, until = Load(), time.perf_counter() + seconds
    load.took_s = uvloop.run(
        _flat_out(port, lambda: next_path() if time.perf_counter() < until else "", connections, load)
    )
    return load


def once(port: int, paths: Iterator[str], connections: int = 4) -> None:
    """Ask for each of these, so that what is made on first use has been made."""
    uvloop.run(_flat_out(port, lambda: next(paths, ""), connections, Load()))


async def _flat_out(port: int, next_path: Callable[[], str | None], connections: int, load: Load) -> float:
    """Ask until the next path is "" for each connection; the seconds that took."""
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    over = [loop.create_future() for _ in range(connections)]

    def ask(connection: _Connection, ended: asyncio.Future[None]) -> None:
        path = next_path()
        if path is None:
            loop.call_later(0.001, ask, connection, ended)
        elif path:
            connection.get(path, partial(answered, connection, ended, time.perf_counter()))
        else:
            ended.set_result(None)

    def answered(connection: _Connection, ended: asyncio.Future[None], due: float, status: int) -> None:
        _count(load, status, due)
        ask(connection, ended)

    for connection, ended in zip(await _connected(port, connections), over, strict=True):
        ask(connection, ended)
    await asyncio.gather(*over)
    return time.perf_counter() - began


def _count(load: Load, status: int, due: float) -> None:
    wait_ms = (time.perf_counter() - due) * 1000
    if status == 200:
        load.waits_ms.append(wait_ms)
        return
    load.failed += 1
    if status in (429, 503):
        load.refused_ms.append(wait_ms)


async def _connected(port: int, count: int) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(count)]


@dataclass(frozen=True)
class Figures:
    """One run: good answers a second, latency, failures, the server's CPU time for an answer, and how late the client itself
    was, 99 times of 100, where it sent at a rate. `kept`: whether it is one that may be called a rate (bench/serve.py)."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_ms: float = 0.0
    connections: int = 0
    late_ms: float = 0.0
    kept: bool = True


def wrk(port: int, path: str, users: int, connections: int, seconds: float) -> Figures:
    """Closed-loop load from wrk; `path` may hold %07d, the user's number."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK.replace("{users}", str(users)).replace("{path}", path))
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "-s",
            script.name,
            f"http://127.0.0.1:{port}/",
        ]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    got = {
        name: float(value)
        for name, value in re.findall(r"(\w+) (\d+)", said.rpartition("answers ")[1] + said.rpartition("answers ")[2])
    }
    return Figures(
        got["answers"] / got["took_us"] * 1e6, got["p50_us"] / 1000, got["p99_us"] / 1000, int(got["failed"])
    )


def figures(load: Load) -> Figures:
    """The same of a run of our own client."""
    late_ms = percentile(load.late_ms, 99) if load.late_ms else 0.0
    return Figures(load.rate, load.percentile_ms(50), load.percentile_ms(99), load.failed, late_ms=late_ms)
