"""Overload: what one server still answers when ten times what it can do is asked of it, whether answers come or not.

In one run, from one client, with requests of one kind: the peak (the most good answers a second that any of a few numbers
of callers gets, each asking again once it is answered), ten times that rate at a constant pace for --seconds, and then,
second by second, the peak's callers again until they get nine tenths of it. Each request is for a user whose history has been
read and leaves one place to chance, so that none gets a kept answer: the whole pipeline runs, and the peak does not move with
what is kept. Latency counts from when a request was due. `late_p99_ms` is how late the client itself sent: what it says beyond
a few milliseconds is the client's, and has to be taken from the others. The server has a core to itself; the client shares the
others with Postgres and the broker.

    python bench/overload.py --items 100000 --seconds 60      three minutes where the world is made
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.load import Load, at_rate, flat_out, once, percentile  # noqa: E402 -- run as a script, from anywhere
from bench.serve import MODELS, SERVER_CORE, WARM_USERS, world  # noqa: E402
from bench.serve_process import Server, computed_path, path_of  # noqa: E402

CALLERS = (8, 16, 32)
PEAK_S = 10.0  # of each number of callers
TIMES = 10
CONNECTIONS = 1024  # at the constant rate: more than requests that wait for an answer at any time
RECOVERY_S = 10.0
RECOVERED = 0.9  # of the peak


@dataclass(frozen=True)
class Stretch:
    """Load of one kind. Rates are a second, `good_a_cpu_s` those of the server's CPU, which says the same on a busy machine."""

    asked: float
    good: float
    refused: float
    failed: int
    good_a_cpu_s: float
    cpu_share: float
    good_p50_ms: float
    good_p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    refused_max_ms: float
    late_p99_ms: float

    @classmethod
    def of(cls, server: Server, run: Callable[[], Load]) -> Stretch:
        """What came of a run."""
        before = server.cpu_s
        load = run()
        cpu_s, refused = server.cpu_s - before, load.refused_ms
        return cls(
            (len(load.waits_ms) + load.failed) / load.took_s, load.rate, len(refused) / load.took_s,
            load.failed - len(refused), len(load.waits_ms) / cpu_s, cpu_s / load.took_s, load.percentile_ms(50),
            load.percentile_ms(99), percentile(refused, 50), percentile(refused, 99), max(refused, default=float("nan")),
            percentile(load.late_ms, 99),
        )  # fmt: skip


def paths() -> Iterator[str]:
    """Requests without end, of users whose histories are remembered."""
    return (computed_path(number) for number in cycle(range(WARM_USERS)))


def called(server: Server, callers: int, seconds: float) -> Stretch:
    """As many callers, each asking again once it is answered."""
    asked = paths()
    return Stretch.of(server, lambda: flat_out(server.port, lambda: next(asked), callers, seconds))


def recovery_s(server: Server, callers: int, wanted: float) -> float | None:
    """Seconds after an overload until a second's goodput is `wanted` again; None when that takes too long."""
    began = time.monotonic()
    while time.monotonic() - began < RECOVERY_S:
        if called(server, callers, 1.0).good >= wanted:
            return time.monotonic() - began
    return None


def overload(server: Server, seconds: float) -> dict[str, Any]:
    """The peak, ten times that, and what comes after, as plain values."""
    once(server.port, map(path_of, range(WARM_USERS)))
    called(server, max(CALLERS), 5.0)  # nothing is made for the first time any more
    runs = {callers: called(server, callers, min(PEAK_S, seconds)) for callers in CALLERS}
    callers = max(runs, key=lambda one: runs[one].good)
    peak = runs[callers]
    over = Stretch.of(server, lambda: at_rate(server.port, paths(), TIMES * peak.good, seconds, CONNECTIONS))
    recovered_s = recovery_s(server, callers, RECOVERED * peak.good)
    return {
        "callers": callers, "peak": asdict(peak), "overload": asdict(over), "goodput_share": over.good / peak.good,
        "goodput_share_a_cpu_s": over.good_a_cpu_s / peak.good_a_cpu_s, "recovered_s": recovered_s,
        "after": asdict(called(server, callers, min(PEAK_S, seconds))),
    }  # fmt: skip


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60, help="of the overload")
    parser.add_argument("--home", type=Path, help="where the world is kept")
    given = parser.parse_args()
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {SERVER_CORE} or {SERVER_CORE})
    with world(given.home or Path(".headwater") / f"bench-serve-{given.items}", given.items) as (settings, _):
        server = Server(settings, str(SERVER_CORE), len(MODELS))
        try:
            found = overload(server, given.seconds)
            print(json.dumps({"items": given.items, **found, "rss_mb": server.rss_mb}, indent=2))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
