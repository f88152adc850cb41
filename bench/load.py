"""Load from outside: requests at a given rate with latency from when each was due, or as many as are answered at once.

Plain sockets and HTTP/1.1 with keep-alive, as a caller in the same data centre has them; one core drives thousands a second.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

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
    """What came back: `waits_ms` one a good answer, `failed` everything else, and how long it all took."""

    waits_ms: list[float] = field(default_factory=list)
    failed: int = 0
    took_s: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.waits_ms) / max(self.took_s, 1e-9)

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the answers stayed below."""
        return float(np.percentile(self.waits_ms, share)) if self.waits_ms else float("nan")


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def get(self, path: str) -> int:
        """The status of the answer, 0 when the connection was lost."""
        if self._transport.is_closing():
            await asyncio.sleep(0.01)
            return 0
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())  # type: ignore[attr-defined]
        return await self._answered

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, gap, body = self._received.partition(b"\r\n\r\n")
        if gap and len(body) >= int(head.lower().partition(b"content-length:")[2].split()[0]):
            self._received = b""
            self._answer(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self._answer(0)

    def _answer(self, status: int) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(status)


async def at_rate(port: int, paths: Iterator[str], rate: float, seconds: float, connections: int = 64) -> Load:
    """Send `rate` requests a second, evenly, whether answers come or not (as wrk2 does): latency counts from when each was
    due, so that a server that stalls does not hide it. Ends early where `paths` do.
    """
    load, free = Load(), asyncio.Queue[_Connection]()
    for one in await _connected(port, connections):
        free.put_nowait(one)
    began = time.perf_counter()
    sent: set[asyncio.Task[None]] = set()

    async def ask(path: str, due: float) -> None:
        connection = await free.get()
        _count(load, await connection.get(path), due)
        free.put_nowait(connection)

    for number, path in zip(range(int(rate * seconds)), paths, strict=False):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.ensure_future(ask(path, due))
        sent.add(task)
        task.add_done_callback(sent.discard)
    while sent:
        await asyncio.sleep(0.01)
    load.took_s = time.perf_counter() - began
    return load


async def flat_out(port: int, next_path: Callable[[], str | None], connections: int, seconds: float) -> Load:
    """`connections` callers, each asking again as soon as it was answered. A `next_path` of None is waited for."""
    load, began = Load(), time.perf_counter()

    async def caller(connection: _Connection) -> None:
        while time.perf_counter() - began < seconds:
            path = next_path()
            if path is None:
                await asyncio.sleep(0.001)
                continue
            due = time.perf_counter()
            _count(load, await connection.get(path), due)

    await asyncio.gather(*map(caller, await _connected(port, connections)))
    load.took_s = time.perf_counter() - began
    return load


async def once(port: int, paths: Iterator[str], connections: int = 4) -> None:
    """Ask for each of these, so that what is made on first use has been made."""

    async def caller(connection: _Connection) -> None:
        for path in paths:
            await connection.get(path)

    await asyncio.gather(*map(caller, await _connected(port, connections)))


def _count(load: Load, status: int, due: float) -> None:
    if status == 200:
        load.waits_ms.append((time.perf_counter() - due) * 1000)
    else:
        load.failed += 1


async def _connected(port: int, count: int) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(count)]


@dataclass(frozen=True)
class Figures:
    """One run: good answers a second, latency, failures, and the server's CPU time for an answer."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_ms: float = 0.0
    connections: int = 0


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
    return Figures(load.rate, load.percentile_ms(50), load.percentile_ms(99), load.failed)
