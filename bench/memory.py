"""Memory of a server: of its items and models, of its users, and over swaps of the live blend under light load.

    python bench/memory.py --items 10000,100000,1000000 [--users N] [--swaps N] [--home DIR] [--json] [--page FILE]

started   a server that has read its catalogue and loaded the default models, as `headwater serve` makes it
catalogue, models   what these add to a process that has nothing else
users     the same server when so many different users have asked for recommendations
swaps     the same server while the live blend is replaced by another version of itself, again and again, 20 requests/s beside
          it: the highest of each stretch, while two versions are loaded, and what is left at its end, when one is

Megabytes that the process has written and shares with nobody; those of libraries' files are not among them. A world is made
once, as by bench/serve.py. Swaps are made for sizes up to --swap-items: at a million items each takes several seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count as numbers_from
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.load import at_rate, once  # noqa: E402 -- run as a script, from anywhere
from bench.pages import markdown  # noqa: E402
from bench.serve import MODELS, WARM_USERS, world  # noqa: E402
from bench.serve_process import Server, own_mb, path_of  # noqa: E402
from bench.serve_world import live_of_two  # noqa: E402
from core.registry import open_registry  # noqa: E402
from core.settings import Settings  # noqa: E402
from core.store import Store, open_store  # noqa: E402
from serving.again import KEPT_ANSWERS  # noqa: E402
from serving.histories import REMEMBERED_EVENTS, REMEMBERED_USERS  # noqa: E402
from serving.live import POLL_EVERY_S  # noqa: E402
from serving.service import Service  # noqa: E402
from tests.threads import in_a_thread  # noqa: E402

LIGHT_RATE = 20.0  # requests a second beside the swaps
SAMPLED_EVERY_S = 0.1
FIRST_SWAPS = 10  # after which nothing more is made on first use
ASKED_USERS = (1_000, 10_000, 20_000, 50_000, 100_000, 200_000)
ABOUT = __doc__[__doc__.index("started   a server") :]


class Sampler:
    """The highest of a server's memory since it was last asked."""

    def __init__(self, server: Server) -> None:
        self._server, self._highest = server, 0.0

    def highest_mb(self) -> float:
        """Of the stretch that ends now."""
        found, self._highest = self._highest, 0.0
        return found

    def sample(self, stop: threading.Event) -> None:
        """Look again and again until `stop`."""
        while not stop.wait(SAMPLED_EVERY_S):
            self._highest = max(self._highest, self._server.rss_mb)


@contextmanager
def light_load(port: int) -> Iterator[dict[str, float]]:
    """Requests at LIGHT_RATE while the block runs; afterwards how many were answered, and how many not."""
    found = dict[str, float]()

    def ask(stop: threading.Event) -> None:
        paths = (path_of(number % WARM_USERS) for number in takewhile(lambda _: not stop.is_set(), numbers_from(1)))
        load = at_rate(port, paths, LIGHT_RATE, 1e6, connections=8)
        found.update(answered=len(load.waits_ms), failed=load.failed, p99_ms=load.percentile_ms(99))

    with in_a_thread(ask):
        yield found


def parts(settings: Settings) -> dict[str, float]:
    """What the catalogue and the models add to a process that has nothing else, in MB."""
    with open_store(settings) as store:
        service = Service(settings, store, open_registry(settings, store))
        seen = [own_mb()]
        for load in (service.catalogue.refresh, service.models.refresh):
            load()
            seen.append(own_mb())
    return {"catalogue_mb": seen[1] - seen[0], "models_mb": seen[2] - seen[1]}


def users(server: Server, most: int) -> dict[str, float]:
    """Memory after so many different users, of whom the first 20,000 did something."""
    found, asked = {}, 0
    for count in (*(one for one in ASKED_USERS if one < most), most):
        once(server.port, map(path_of, range(asked, count)))
        found[str(count)], asked = server.rss_mb, count
    return found


def swaps(settings: Settings, store: Store, server: Server, times: int) -> dict[str, Any]:
    """Replace the live blend `times` times."""
    registry = open_registry(settings, store)
    live = live_of_two(registry, store)
    stretches, number = [], 0
    sampler = Sampler(server)
    with light_load(server.port) as load, in_a_thread(sampler.sample), httpx.Client(timeout=120) as client:
        began = time.monotonic()
        for stretch in (FIRST_SWAPS, *[max(1, (times - FIRST_SWAPS) // 10)] * 10):
            for _ in range(stretch):
                number += 1
                url = f"http://127.0.0.1:{server.port}/v1/models/blend/promote"
                client.post(url, json={"version": 1 + (live.version + number - 1) % 2}).raise_for_status()
            highest = sampler.highest_mb()
            time.sleep(2.5 * POLL_EVERY_S)  # what was replaced is given back by the second look for new models
            stretches.append({"swaps": number, "highest_mb": highest, "left_mb": server.rss_mb})
            sampler.highest_mb()
        took_s = time.monotonic() - began
    first, later = stretches[0], stretches[1:]
    return {
        "swaps": number, "seconds_each": took_s / number, "stretches": stretches, "load": load,
        "highest_mb": max(one["highest_mb"] for one in stretches),
        "highest_growth": max(one["highest_mb"] for one in later) / first["highest_mb"] - 1,
        "left_growth": stretches[-1]["left_mb"] / first["left_mb"] - 1,
    }  # fmt: skip


def measure(n_items: int, home: Path, most_users: int, times: int) -> dict[str, Any]:
    """Everything of one size, as plain values."""
    with world(home, n_items) as (settings, store):
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            found: dict[str, Any] = {"items": n_items, **alone.submit(parts, settings).result()}
        server = Server(settings, f"0-{(os.cpu_count() or 1) - 1}", len(MODELS))
        try:
            found |= {"ready_s": server.ready_s, "started_mb": server.rss_mb, "users": users(server, most_users)}
            return found | ({"swapped": swaps(settings, store, server, times)} if times else {})
        finally:
            server.stop()


def page(found: list[dict[str, Any]]) -> str:
    """The markdown of docs/benchmarks/memory.md."""
    counts = list(found[0]["users"])
    rows = [["", *(f"{one['items']:,} items" for one in found)]]
    rows += [[label, *(f"{one[name]:,.0f}" for one in found)] for label, name in (
        ("started, MB", "started_mb"), ("catalogue, MB", "catalogue_mb"), ("models, MB", "models_mb"),
    )]  # fmt: skip
    rows += [[f"after {int(count):,} users, MB", *(f"{one['users'][count]:,.0f}" for one in found)] for count in counts]
    least, most = found[0], found[-1]
    lines = ["# Memory", "", "```", ABOUT.strip(), "```", "", *markdown(rows), ""]
    if most is not least:
        slope = (most["started_mb"] - least["started_mb"]) / (most["items"] - least["items"]) * 1e6
        lines += [f"A million items more take {slope:,.0f} MB.", ""]
    for one in found if len(counts) > 1 and int(counts[-2]) >= REMEMBERED_USERS else ():
        before, last = (int(count) for count in counts[-2:])
        slope = (one["users"][counts[-1]] - one["users"][counts[-2]]) / (last - before) * 1e6
        lines += [f"At {one['items']:,} items a million users more than {before:,} would take {slope:,.0f} MB.", ""]
    kept = f"{REMEMBERED_USERS:,} who asked last, {REMEMBERED_EVENTS:,} events of theirs and {KEPT_ANSWERS} answers each at most"
    lines += [f"Of users only this is in memory: the histories of the {kept}.", ""]
    for one in (one for one in found if "swapped" in one):
        got = one["swapped"]
        twice = got["stretches"][0]["left_mb"] + one["models_mb"]
        lines += [f"## {got['swaps']} swaps at {one['items']:,} items", ""]
        steps = [
            [f"{int(step['swaps'])}", f"{step['highest_mb']:,.0f}", f"{step['left_mb']:,.0f}"]
            for step in got["stretches"]
        ]
        lines += [*markdown([["swaps", "highest, MB", "left, MB"], *steps]), ""]
        lines += [
            f"After the first {FIRST_SWAPS} the highest grew by {got['highest_growth']:.1%}, what is left by "
            f"{got['left_growth']:.1%}; the highest of all was {got['highest_mb'] / twice:.0%} of one version and the "
            f"models once more ({twice:,.0f} MB). A swap took {got['seconds_each']:.1f} s; of the requests beside it "
            f"{got['load']['answered']:,.0f} were answered, {got['load']['failed']:.0f} were not.",
            "",
        ]
    made = f"on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}."
    sizes = ",".join(str(one["items"]) for one in found)
    return "\n".join([*lines, f"Made by `python bench/memory.py --items {sizes}` {made}", ""])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="10000,100000,1000000", help="sizes of the catalogue, with commas between")
    parser.add_argument("--users", type=int, default=50_000, help="different users who ask")
    parser.add_argument("--swaps", type=int, default=500)
    parser.add_argument("--swap-items", type=int, default=10_000, help="largest size that swaps are made at")
    parser.add_argument("--home", type=Path, default=Path(".headwater"), help="where worlds are kept")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the page")
    parser.add_argument("--page", type=Path, help="write the page there as well")
    given = parser.parse_args()
    found = []
    for n_items in map(int, given.items.split(",")):
        times = given.swaps if n_items <= given.swap_items else 0
        found.append(measure(n_items, given.home / f"bench-serve-{n_items}", given.users, times))
    print(json.dumps(found, indent=2) if given.json else page(found))
    if given.page:
        given.page.write_text(page(found))


if __name__ == "__main__":
    main()
