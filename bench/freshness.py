"""How long until what happened is in the answers, from outside: real processes, the time that a caller sees. Milliseconds.

    python bench/freshness.py [--repeats N] [--items N] [--rates N[,N]] [--home DIR] [--json] [--page]

An event is published to Kafka and acknowledged: there the clock starts. The user's list is then asked for over HTTP, again
and again, until an answer that knows of it has arrived: there it stops.

known user      views the first of their list: it is gone from a list that is another one
unseen user     of whom nothing was ever heard views an item: the list is personal
unseen item     an unseen user views an item that no model was trained on: the list is of what is described like it
new item        item.changed: it is in the list of somebody who chose what is described like it
removed         item.removed, of an item in a list: it is gone
unavailable     item.changed with available false: likewise

Once with nothing else going on and once under a background of other users' events. Postgres, the broker, ingest, the server, the
background and this program share the machine's cores. The world is made once and kept in --home.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import serve_world  # noqa: E402 -- run as a script, from anywhere
from bench.pages import markdown  # noqa: E402
from bench.serve_world import CLUSTER_ITEMS, STORED_USERS, item, user  # noqa: E402
from core.bus import Bus, Message, ensure_topic  # noqa: E402
from core.events import Body, Interaction, ItemChanged, ItemRemoved, encode, partition_key  # noqa: E402
from core.progress import Reporter, Silent, Terminal  # noqa: E402
from core.settings import Settings, load_settings  # noqa: E402
from core.store import Store, open_store  # noqa: E402
from headwater.process import free_port  # noqa: E402
from headwater.roles import running_roles  # noqa: E402
from headwater.services import running_services  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "freshness.md"
MODELS = ("popularity", "transitions", "als", "blend")
PAUSE_S = 0.002  # between answers that do not know yet
PATIENCE_S = 15.0
READY_S = 180.0
SETTLED_S = 2.0  # between a new item and its removal, so that neither is measured with the other
BACKGROUND_USERS = 50_000
FEW_REPEATS = 4  # catalogue events are measured once for so many of users'


def event(body: Body) -> Message:
    """An event of this moment."""
    return Message(partition_key(body), encode(body, id=uuid4().hex, source="/bench", time=datetime.now(UTC)))


def view(who: str, what: str) -> Message:
    """A user views an item."""
    return event(Interaction(user=who, item=what, kind="view"))


@dataclass(frozen=True)
class Measured:
    """Milliseconds of each repeat that came to an end; `missed` did not within PATIENCE_S.

    `rate` events/s were published beside it, `ingested` came into Postgres, those of the measurement included.
    """

    what: str
    rate: int
    ingested: float
    took_ms: list[float]
    missed: int

    def figures(self) -> dict[str, Any]:
        """Percentiles, by name."""
        quantiles = np.percentile(self.took_ms or [np.nan], [50, 95, 99, 100]).round(1).tolist()
        named = dict(zip(("p50_ms", "p95_ms", "p99_ms", "most_ms"), quantiles, strict=True))
        return {
            "what": self.what, "background_events_s": self.rate, "ingested_events_s": round(self.ingested),
            "repeats": len(self.took_ms) + self.missed, **named, "missed": self.missed,
        }  # fmt: skip


class Shop:
    """The system as its callers see it: a broker that takes events and a port that answers."""

    def __init__(self, settings: Settings, bus: Bus, n_items: int) -> None:
        self._port, self._bus, self.n_items = settings.port, bus, n_items
        self._http = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=30)
        self._random = np.random.default_rng()
        self._tastes = _tastes(n_items)
        self._someone = iter(self._random.permutation(list(self._tastes)).tolist() * 10)
        self._number = 0

    def get(self, path: str) -> dict[str, Any]:
        """A JSON answer; asked again where the server was too busy, or had closed an idle connection."""
        while True:
            try:
                self._http.request("GET", path)
                answer = self._http.getresponse()
                found: dict[str, Any] = json.loads(answer.read())
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._http.close()
                continue
            if answer.status == HTTPStatus.OK:
                return found
            time.sleep(PAUSE_S)

    def list_of(self, who: str) -> dict[str, Any]:
        """A user's recommendations."""
        return self.get(f"/v1/users/{who}/recommendations")

    def ready(self) -> bool:
        """Whether every model of the world is served."""
        try:
            return len(self.get("/readyz")["models"]) == len(MODELS)
        except ConnectionRefusedError:
            self._http.close()
            return False

    def until(self, message: Message, knows: Callable[[], bool]) -> float | None:
        """Milliseconds from the acknowledgement until an answer knows; None where none did in time."""
        self._bus.publish([message])
        began = time.perf_counter()
        while time.perf_counter() - began < PATIENCE_S:
            if knows():
                return (time.perf_counter() - began) * 1e3
            time.sleep(PAUSE_S)
        return None

    def known_user(self) -> float | None:
        who, _ = self._next()
        first = _ids(self.list_of(who))[0]
        return self.until(view(who, first), lambda: first not in _ids(self.list_of(who)))

    def unseen_user(self) -> float | None:
        who, what = f"unseen-{uuid4().hex}", item(int(self.n_items ** self._random.random()) - 1)
        return self.until(view(who, what), lambda: self.list_of(who)["fallback"] is None)

    def unseen_item(self) -> float | None:
        _, taste = self._next()
        what, who = self._made(taste), f"unseen-{uuid4().hex}"
        self._bus.publish([event(_described(what, taste))])
        time.sleep(SETTLED_S)
        took = self.until(view(who, what), lambda: self.list_of(who)["fallback"] == "item-item")
        self._bus.publish([event(ItemRemoved(item=what))])
        return took

    def new_item(self) -> float | None:
        who, taste = self._next()
        what = self._made(taste)
        took = self.until(event(_described(what, taste)), lambda: what in _ids(self.list_of(who)))
        self._bus.publish([event(ItemRemoved(item=what))])
        return took

    def removed(self) -> float | None:
        return self._gone(lambda what, taste: ItemRemoved(item=what))

    def unavailable(self) -> float | None:
        return self._gone(lambda what, taste: msgspec.structs.replace(_described(what, taste), available=False))

    def _gone(self, leaving: Callable[[str, int], Body]) -> float | None:
        """An item of somebody's list leaves; it is brought back afterwards."""
        who, _ = self._next()
        what = _ids(self.list_of(who))[0]
        taste = int(what.rpartition("-")[2]) % max(1, self.n_items // CLUSTER_ITEMS)
        took = self.until(event(leaving(what, taste)), lambda: what not in _ids(self.list_of(who)))
        self._bus.publish([event(_described(what, taste))])
        return took

    def _next(self) -> tuple[str, int]:
        number = next(self._someone)
        return user(number), self._tastes[number]

    def _made(self, taste: int) -> str:
        self._number += 1
        return f"fresh-{uuid4().hex[:8]}-{taste}"


def _tastes(n_items: int) -> dict[int, int]:
    """Users with stored histories who mostly chose from one cluster, and which."""
    made, clusters = serve_world.habits(n_items, max(STORED_USERS, n_items // 10)), max(1, n_items // CLUSTER_ITEMS)
    ends = np.searchsorted(made.users, np.arange(STORED_USERS + 1))
    found = {}
    for number in range(STORED_USERS):
        newest = made.items[ends[number] : ends[number + 1]][-20:] % clusters
        counts = np.bincount(newest)
        if len(newest) >= 8 and counts.max() >= 0.7 * len(newest):
            found[number] = int(counts.argmax())
    return found


def _described(what: str, taste: int) -> ItemChanged:
    return ItemChanged(item=what, title="Item", categories=(f"c{taste}",))


def _ids(answer: dict[str, Any]) -> list[str]:
    return [one["item"] for one in answer["items"]]


@contextmanager
def background(settings: Settings, store: Store, rate: int, n_items: int) -> Iterator[None]:
    """`rate` events a second of other users, from a process of its own."""
    if not rate:
        yield
        return
    command = [sys.executable, __file__, "--background", str(rate), "--items", str(n_items)]
    process = subprocess.Popen(command, env={**os.environ, **settings.environ()}, cwd=ROOT)
    try:
        before = _views(store)
        while _views(store) - before < rate:  # its start is no part of what is measured
            if process.poll() is not None:
                raise SystemExit("the background has ended: its events were not acknowledged")
            time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def publish_background(rate: int, n_items: int) -> None:
    """Publish until killed."""
    settings, random = load_settings(os.environ), np.random.default_rng()

    def views() -> Iterator[Message]:
        while True:
            who = f"background-{random.integers(BACKGROUND_USERS)}"
            yield view(who, item(int(n_items ** random.random()) - 1))

    with Bus(str(settings.kafka_bootstrap), settings.topic) as bus:
        bus.publish_all(views(), 0, Silent(), rate=rate)


def _views(store: Store) -> int:
    return store.catalogue.totals().get("interaction.view", 0)


def measure(
    settings: Settings, store: Store, n_items: int, rates: Sequence[int], repeats: int, reporter: Reporter
) -> list[Measured]:
    """Everything, in a system that is started for it."""
    found = []
    ensure_topic(str(settings.kafka_bootstrap), settings.topic, settings.topic_partitions)
    with (
        running_roles(settings, ("ingest", "serve")),
        Bus(str(settings.kafka_bootstrap), settings.topic) as bus,
    ):
        shop = Shop(settings, bus, n_items)
        end = time.monotonic() + READY_S
        while not shop.ready():
            if time.monotonic() > end:
                raise SystemExit(f"the models are not served: see {settings.home}/logs, or remove {settings.home}")
            time.sleep(0.1)
        shop.until(view("first", item(0)), lambda: shop.list_of("first")["fallback"] is None)
        whats = {
            "known user": (shop.known_user, repeats), "unseen user": (shop.unseen_user, repeats),
            "unseen item": (shop.unseen_item, repeats // FEW_REPEATS), "new item": (shop.new_item, repeats // FEW_REPEATS),
            "removed": (shop.removed, repeats // FEW_REPEATS), "unavailable": (shop.unavailable, repeats // FEW_REPEATS),
        }  # fmt: skip
        for rate in rates:
            with background(settings, store, rate, n_items):
                for what, (once, times) in whats.items():
                    took: list[float | None] = []
                    before, began = _views(store), time.monotonic()
                    with reporter.task(f"{what}, {rate:,} events/s beside", times) as task:
                        for _ in range(times):
                            took.append(once())
                            task.advance()
                    ended = [one for one in took if one is not None]
                    ingested = (_views(store) - before) / (time.monotonic() - began)
                    found.append(Measured(what, rate, ingested, ended, len(took) - len(ended)))
    return found


def table(found: Sequence[Measured]) -> list[str]:
    """The lines of a markdown table."""
    head = ["what", "events/s beside", "ingested/s", "repeats", "p50 ms", "p95 ms", "p99 ms", "most", "missed"]
    rows = []
    for one in map(Measured.figures, found):
        percentiles = [f"{one[name]:,.0f}" for name in ("p50_ms", "p95_ms", "p99_ms", "most_ms")]
        rates = [f"{one[name]:,}" for name in ("background_events_s", "ingested_events_s")]
        rows.append([one["what"], *rates, str(one["repeats"]), *percentiles, str(one["missed"])])
    return markdown([head, *rows])


def page(found: Sequence[Measured], n_items: int, command: str) -> str:
    """docs/benchmarks/freshness.md."""
    about = (__doc__ or "").split("[--page]\n\n")[1].strip()
    made = (
        f"Made by `{command}`: {n_items:,} items, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}. p95 of the first three is meant to stay under 300 ms, a new item under 5 s, what is gone "
        "under 1 s."
    )
    cases, _, rest = about.partition("\n\nknown user")
    listed, _, last = f"known user{rest}".partition("\n\n")
    parts = ["# Freshness", cases, f"```text\n{listed}\n```", last, "\n".join(table(found)), made]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200, help="of users' events; a quarter of it of the catalogue's")
    parser.add_argument("--items", type=int, default=10_000, help="size of the catalogue")
    parser.add_argument("--rates", default="0,1000", help="events/s beside, with commas between")
    parser.add_argument("--home", type=Path, help="where the world is kept")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--page", action="store_true", help=f"also write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--background", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.background:
        publish_background(arguments.background, arguments.items)
        return
    home = (arguments.home or Path(".headwater") / f"bench-serve-{arguments.items}").absolute()
    reporter = Terminal()
    chosen = Settings(home=home, port=free_port())
    with running_services(chosen, reporter) as settings, open_store(settings) as store:
        serve_world.make(settings, store, arguments.items, reporter, MODELS)
        rates = [int(rate) for rate in arguments.rates.split(",")]
        found = measure(settings, store, arguments.items, rates, arguments.repeats, reporter)
    if arguments.json:
        print(json.dumps([one.figures() for one in found], indent=2))
    else:
        print("\n".join(table(found)))
    if arguments.page:
        command = f"python bench/freshness.py --repeats {arguments.repeats} --items {arguments.items}"
        PAGE.write_text(page(found, arguments.items, command))


if __name__ == "__main__":
    main()
