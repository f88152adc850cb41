"""How fast answers come, beside the null endpoint of the same server and an exact search alone. Medians of repeated runs.

    python bench/serve.py [--items N[,N]] [--seconds N] [--repeats N] [--home DIR] [--json] [--page FILE]
    python bench/serve.py --stalls 20                    the longest that nothing is answered, over that many swaps
    python bench/serve.py --only warm                    one rate, once: for a quick look

null    GET /healthz: what HTTP, the framework and the measuring of it cost (from wrk)
search  the 100 nearest of as many 64-d vectors as there are items, exactly and by the kind that is chosen, alone, in process
warm    a user's recommendations, history unchanged since the last request (from wrk)
cold    the same, with a new event of that user committed since the last request, before every request
first   the same, of users who have not asked for long, most of them never: whole histories are read
half    latency at half of these rates, sent at a constant rate, measured from when each request was due; "late" is how late
        the client itself sent (p99), which is part of it. Warm: of users who were asked for just before, as an answer is kept
        for a minute at most

The server runs on one core, alone; the load, Postgres and the broker on the others. A rate is the best of several numbers of
connections at which p99 stays under 25 ms and nothing fails; "none" where there is no such number, beside the fastest run.

A world is made once and kept in --home, .headwater/bench-serve-N by default: for a million items that takes half an hour. A
size takes some 24 runs of --seconds for each of --repeats, and a minute or two: fourteen minutes as it comes. wrk: `apt-get
install wrk`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import cycle, repeat, takewhile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import serve_world  # noqa: E402 -- run as a script, from anywhere
from bench.index import search  # noqa: E402
from bench.load import Figures, Load, at_rate, figures, flat_out, once, wrk  # noqa: E402
from bench.serve_page import page  # noqa: E402
from bench.serve_process import Server, Writer, computed_path, path_of  # noqa: E402
from bench.serve_world import STORED_USERS  # noqa: E402
from core.progress import Terminal  # noqa: E402
from core.registry import open_registry  # noqa: E402
from core.settings import Settings, load_settings  # noqa: E402
from core.store import Store, open_store  # noqa: E402
from headwater.services import running_services  # noqa: E402

SERVER_CORE = 0
MODELS = ("popularity", "transitions", "als", "blend")
WARM_USERS = 2_000
CONNECTIONS = (1, 2, 3, 4, 6, 8, 16, 32)
WRK_CONNECTIONS = (4, 8, 16, 32)  # where an answer takes a fraction of a millisecond
SLOWEST_MS = 25.0
HOPELESS = 2.0  # times that: more connections would not be quicker
LIGHT_RATE = 50.0  # requests/s that are computed beside what may stall
PING_RATE = 200.0  # of /healthz, which only the event loop answers
SWAP_S = 2.5  # a server looks for new versions every second
RELOAD_S = 5.0
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
ABOUT = __doc__[__doc__.index("null    GET") : __doc__.rindex("\n\nA world is made")]


def costed(server: Server, run: Callable[[], Figures], seconds: float) -> Figures:
    """A run, with the server's CPU time for an answer of it."""
    before = server.cpu_s
    found = run()
    return replace(found, cpu_ms=(server.cpu_s - before) / max(1.0, found.rate * seconds) * 1000)


def best(server: Server, run: Callable[[int], Figures], seconds: float, numbers: Sequence[int]) -> Figures:
    """The run with the highest rate at which p99 stays under SLOWEST_MS, of several numbers of connections; where it never does
    the fastest, which is not `kept`."""
    runs: list[Figures] = []
    for connections in numbers:
        one = costed(server, lambda: run(connections), seconds)  # noqa: B023
        kept = one.failed == 0 and one.p99_ms < SLOWEST_MS
        runs.append(replace(one, connections=connections, kept=kept))
        if one.p99_ms > HOPELESS * SLOWEST_MS:
            break
    return max(runs, key=lambda one: (one.kept, one.rate))


class Bench:
    """One world, one server, and what is measured of them."""

    def __init__(self, settings: Settings, store: Store, server: Server, n_items: int, seconds: float) -> None:
        self.settings, self.store, self.server = settings, store, server
        self.n_items, self.seconds = n_items, seconds
        self._strangers = cycle(range(2 * WARM_USERS, STORED_USERS))

    def null(self) -> Figures:
        """The floor."""
        return self._wrk("/healthz", 1)

    def warm(self) -> Figures:
        """Histories unchanged since the last request."""
        once(self.server.port, map(path_of, range(WARM_USERS)))
        return self._wrk("/v1/users/user-%07d/recommendations", WARM_USERS)

    def cold(self) -> Figures:
        """A new event of the user before every request, and since the one before."""
        return self._written(self._known)

    def first(self) -> Figures:
        """The same, of users who have not asked for long."""
        return self._written(self._strangers)

    def warm_at(self, rate: float) -> Figures:
        """Latency at a constant rate, histories unchanged since each was asked for once, by others than before: what they were
        answered is not about to be made anew."""
        others = range(WARM_USERS, 2 * WARM_USERS)
        once(self.server.port, map(path_of, others))
        return self._at(map(path_of, cycle(others)), rate)

    def cold_at(self, rate: float) -> Figures:
        """Latency at a constant rate, a new event before every request."""
        with Writer(self.store, self.n_items, self._known) as writer:
            return self._at(writer.paths(), rate)

    @property
    def _known(self) -> Iterator[int]:
        """Users who have asked before."""
        once(self.server.port, map(path_of, range(WARM_USERS)))
        return cycle(range(WARM_USERS))

    def _written(self, users: Iterator[int]) -> Figures:
        """The best rate while new events are written."""
        with Writer(self.store, self.n_items, users) as writer:
            run = lambda c: figures(flat_out(self.server.port, writer.next_path, c, self.seconds))  # noqa: E731
            return best(self.server, run, self.seconds, CONNECTIONS)

    def _wrk(self, path: str, users: int) -> Figures:
        run = lambda c: wrk(self.server.port, path, users, c, self.seconds)  # noqa: E731
        return best(self.server, run, self.seconds, WRK_CONNECTIONS)

    def _at(self, paths: Iterator[str], rate: float) -> Figures:
        run = lambda: figures(at_rate(self.server.port, paths, rate, self.seconds))  # noqa: E731
        return costed(self.server, run, self.seconds)


def medians(runs: list[Figures]) -> Figures:
    """Each figure's median; failures add up, and a rate was kept only where each run kept it."""
    names = ("rate", "p50_ms", "p99_ms", "cpu_ms", "late_ms")
    middle = {name: statistics.median(getattr(one, name) for one in runs) for name in names}
    failed, connections = sum(one.failed for one in runs), statistics.median_low(one.connections for one in runs)
    return Figures(**middle, failed=failed, connections=connections, kept=all(one.kept for one in runs))


@contextmanager
def world(home: Path, n_items: int) -> Iterator[tuple[Settings, Store]]:
    """Postgres and the broker running on all cores but the server's, the world made."""
    chosen = load_settings({"HEADWATER_HOME": str(home), "HEADWATER_PORT": str(free_port())})
    with running_services(chosen, Terminal()) as settings, open_store(settings) as store:
        serve_world.make(settings, store, n_items, Terminal(), MODELS)
        yield settings, store


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def measure(n_items: int, home: Path, seconds: float, repeats: int, only: str) -> dict[str, Any]:
    """Everything of one size, as plain values."""
    with world(home, n_items) as (settings, store):
        server = Server(settings, str(SERVER_CORE), len(MODELS))
        try:
            started_mb = server.rss_mb
            bench = Bench(settings, store, server, n_items, seconds)
            if only:
                return {"items": n_items, only: asdict(getattr(bench, only)())}
            null, warm = (medians([run() for _ in range(repeats)]) for run in (bench.null, bench.warm))
            warm_half = medians([bench.warm_at(warm.rate / 2) for _ in range(repeats)])  # before anything is written
            cold = medians([bench.cold() for _ in range(repeats)])
            cold_half = medians([bench.cold_at(cold.rate / 2) for _ in range(repeats)])
            first = medians([bench.first() for _ in range(repeats)])
            found = {
                "null": null, "warm": warm, "cold": cold, "warm_half": warm_half, "cold_half": cold_half, "first": first,
            }  # fmt: skip
            return {
                "items": n_items, "ready_s": server.ready_s, "started_mb": started_mb, "asked_mb": server.rss_mb,
                **{name: asdict(one) for name, one in found.items()}, "search": search(n_items),
            }  # fmt: skip
        finally:
            server.stop()


def stalls(n_items: int, home: Path, times: int) -> dict[str, Any]:
    """How long GET /healthz waits at a server under a light load: left alone, while its blend is swapped `times` times, and while
    Postgres cuts its connections, after each of which all of the catalogue is read anew."""
    with world(home, n_items) as (settings, store):
        registry = open_registry(settings, store)
        live = serve_world.live_of_two(registry, store)
        server = Server(settings, str(SERVER_CORE), len(MODELS))

        def swap(number: int) -> None:
            registry.promote("blend", 1 + (live.version + number) % 2, f"swap {number} of the bench")
            time.sleep(SWAP_S)

        def cut(_: int) -> None:
            with store.database.begin() as connection:
                connection.exec_driver_sql(CUT)
            time.sleep(RELOAD_S)

        try:
            once(server.port, map(path_of, range(WARM_USERS)))
            works = {"alone": lambda _: time.sleep(SWAP_S), "swaps": swap, "reloads": cut}
            rounds = {"alone": times, "swaps": times, "reloads": max(1, times // 4)}
            found = {name: waits(server.port, work, rounds[name]) for name, work in works.items()}
            return {"items": n_items, "rounds": rounds, **found}
        finally:
            server.stop()


def waits(port: int, work: Callable[[int], None], times: int) -> dict[str, float]:
    """What GET /healthz waits for its answer, in ms, while `work` is done so often, beside requests that are computed."""
    over = threading.Event()

    def ask(paths: Iterator[str], rate: float) -> Load:
        return at_rate(port, takewhile(lambda _: not over.is_set(), paths), rate, 1e6)

    with ThreadPoolExecutor(2) as pool:
        load = pool.submit(ask, map(computed_path, cycle(range(WARM_USERS))), LIGHT_RATE)
        pings = pool.submit(ask, repeat("/healthz"), PING_RATE)
        try:
            for number in range(times):
                work(number)
        finally:
            over.set()
    found, beside = pings.result(), load.result()
    return {
        "p50_ms": found.percentile_ms(50), "p99_ms": found.percentile_ms(99), "longest_ms": max(found.waits_ms),
        "late_ms": max(found.late_ms), "answers_p99_ms": beside.percentile_ms(99), "failed": found.failed + beside.failed,
    }  # fmt: skip


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="100000", help="sizes of the catalogue, with commas between")
    parser.add_argument("--seconds", type=float, default=10, help="of each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--home", type=Path, default=Path(".headwater"), help="where worlds are kept")
    parser.add_argument("--only", default="", choices=("null", "warm", "cold", "first"), help="one rate, once")
    parser.add_argument("--stalls", type=int, help="swap the live blend so often, and say how long nothing is answered")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--page", type=Path, help="write the table there as well")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {SERVER_CORE} or {SERVER_CORE})
    found = []
    for n_items in map(int, given.items.split(",")):
        home = given.home / f"bench-serve-{n_items}"
        one = (
            stalls(n_items, home, given.stalls)
            if given.stalls
            else measure(n_items, home, given.seconds, given.repeats, given.only)
        )
        found.append(one)
        if given.page and not (given.stalls or given.only):
            given.page.write_text(page(found, ABOUT, f"--seconds {given.seconds:g} --repeats {given.repeats}"))
    if given.json or given.stalls or given.only:
        print(json.dumps(found, indent=2))
    else:
        print(page(found, ABOUT, f"--seconds {given.seconds:g} --repeats {given.repeats}"))


if __name__ == "__main__":
    main()
