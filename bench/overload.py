"""Overload: what one server still answers when ten times as many callers as it can serve ask at once.

Three stretches of load from wrk, every caller asking again as soon as it was answered or refused: the peak (the fewest
callers that get 95% of the best rate), ten times as many callers as that, and the peak's again. From the second come goodput
(200s a second, beside the peak's), and how long the others waited for their 503; from the third, how soon the server is as
fast as before. Needs wrk; the server has a core to itself.

    python bench/overload.py --items 10000 --seconds 60
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.serve import MODELS, SERVER_CORE, Server, world  # noqa: E402 -- run as a script, from anywhere
from bench.serve_world import STORED_USERS, user  # noqa: E402

CALLERS = (4, 8, 16, 32)
TIMES = 10
RECOVERY_S = 10.0
PROBES = 4
LUA = """
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function init(args) ok, full, strange = 0, 0, 0; math.randomseed(os.time()) end
function request() return wrk.format("GET", string.format("/v1/users/user-%07d/recommendations", math.random(0, {users} - 1))) end
function response(status)
  if status == 200 then ok = ok + 1 elseif status == 503 or status == 429 then full = full + 1 else strange = strange + 1 end
end
function done(summary, latency)
  local ok, full, strange = 0, 0, 0
  for _, thread in ipairs(threads) do
    ok = ok + thread:get("ok"); full = full + thread:get("full"); strange = strange + thread:get("strange")
  end
  local e = summary.errors
  print(string.format("found ok=%d full=%d other=%d took_us=%d p50_us=%d p99_us=%d max_us=%d", ok, full,
    strange + e.connect + e.read + e.write + e.timeout, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max))
end
"""


@dataclass(frozen=True)
class Stretch:
    """Load of one kind. Rates are a second, and good answers a second of the server's CPU, which says the same on a busy machine;
    latency is of all answers together, refusals included.
    """

    callers: int
    good: float
    refused: float
    good_a_cpu_s: float
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def stretch(server: Server, callers: int, seconds: float) -> Stretch:
    """Let `callers` ask for a while."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA.format(users=STORED_USERS))
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{callers}",
            f"-d{seconds:.0f}s",
            "-s",
            script.name,
            f"http://127.0.0.1:{server.port}/",
        ]
        before = server.cpu_s
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    got = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", said[said.index("found") :])}
    took_s = got["took_us"] / 1e6
    return Stretch(
        callers,
        got["ok"] / took_s,
        got["full"] / took_s,
        got["ok"] / (server.cpu_s - before),
        got["other"],
        got["p50_us"] / 1000,
        got["p99_us"] / 1000,
        got["max_us"] / 1000,
    )


class Probe:
    """A few callers of our own beside wrk's, which does not tell apart what it was answered: latency by status."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.waits_ms: dict[int, list[float]] = {}

    def __enter__(self) -> Probe:
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(PROBES)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            while not self._stop.wait(0.05):
                number = (number + PROBES) % STORED_USERS
                began = time.perf_counter()
                connection.request("GET", f"/v1/users/{user(number)}/recommendations")
                answer = connection.getresponse()
                answer.read()
                with self._lock:
                    self.waits_ms.setdefault(answer.status, []).append((time.perf_counter() - began) * 1000)

    def found(self) -> dict[str, dict[str, float]]:
        """Latency of each status: how many, median, 99th percentile, longest."""
        return {
            str(status): {
                "count": len(waits), "p50_ms": float(np.percentile(waits, 50)), "p99_ms": float(np.percentile(waits, 99)),
                "max_ms": max(waits),
            }
            for status, waits in sorted(self.waits_ms.items())
        }  # fmt: skip


def recovery_s(server: Server, callers: int, wanted: float) -> float | None:
    """Seconds after an overload until a second's goodput is `wanted` again; None when that takes too long."""
    began = time.monotonic()
    while time.monotonic() - began < RECOVERY_S:
        if stretch(server, callers, 1).good >= wanted:
            return time.monotonic() - began
    return None


def measure(n_items: int, home: Path, seconds: float) -> dict[str, Any]:
    """Everything, as plain values."""
    with world(home, n_items) as (settings, _):
        server = Server(settings, str(SERVER_CORE), len(MODELS))
        try:
            stretch(server, 4, 5)
            runs = [stretch(server, callers, min(10.0, seconds)) for callers in CALLERS]
            calm = [
                one for one in runs if one.refused < 0.01 * one.good
            ] or runs  # more callers than that are an overload
            peak = next(one for one in calm if one.good >= 0.95 * max(other.good for other in calm))
            with Probe(server.port) as probe:
                over = stretch(server, TIMES * peak.callers, seconds)
            recovered_s = recovery_s(server, peak.callers, 0.9 * peak.good)
            return {
                "items": n_items,
                "peak": asdict(peak),
                "overload": asdict(over),
                "goodput_share": over.good / peak.good,
                "goodput_share_a_cpu_s": over.good_a_cpu_s / peak.good_a_cpu_s,
                "by_status": probe.found(),
                "recovered_s": recovered_s,
                "rss_mb": server.rss_mb,
            }
        finally:
            server.stop()


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60, help="of the overload")
    parser.add_argument("--home", type=Path, help="where the world is kept")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {SERVER_CORE} or {SERVER_CORE})
    home = arguments.home or Path(".headwater") / f"bench-serve-{arguments.items}"
    print(json.dumps(measure(arguments.items, home, arguments.seconds), indent=2))


if __name__ == "__main__":
    main()
