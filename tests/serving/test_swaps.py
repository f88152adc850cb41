"""Two hundred swaps under load: no request fails, and every answer is what the versions that it names would have said alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from features.interactions import Interactions
from tests.serving.test_live import backwards
from tests.serving.world import World, ids
from tests.streams import habits

CALLERS = 4
SHARE = 0.7  # of what the server can answer
SWAPS = 100
SESSION = {"history": [{"item": "i20"}, {"item": "i21"}], "limit": 8, "explain": False}
ASKED = (("POST", "/v1/recommendations"), ("GET", "/v1/items/popular"), ("GET", "/v1/items/i20/similar"))

Said = tuple[str, frozenset[tuple[str, str]]]  # a path, and the versions that an answer names


@dataclass
class Seen:
    """What callers were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    lists: dict[Said, set[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(set))

    def ask(self, client: httpx.Client, number: int) -> None:
        method, path = ASKED[number % len(ASKED)]
        answer = client.request(method, path, json=SESSION if method == "POST" else None)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            document = answer.json()
            self.lists[path, frozenset(document["model"].items())].add(tuple(ids(document)))


def forwards() -> Interactions:
    walks = [(one.body.user, one.body.item, one.time.timestamp()) for one in habits(30, 40, 12)]  # type: ignore[union-attr]
    users, items, times = zip(*walks, strict=True)
    return Interactions.from_columns(list(users), list(items), list(times))


def promote(client: httpx.Client, name: str, version: int) -> None:
    client.post(f"/v1/models/{name}/promote", json={"version": version}).raise_for_status()
    assert client.get("/readyz").json()["models"][name] == version


def load(address: str, rate: float, stop: threading.Event, seen: Seen) -> None:
    """Ask `rate` times a second, on one connection, until told to stop."""
    with httpx.Client(base_url=address, timeout=30) as client:
        for number in itertools.count():
            began = time.monotonic()
            seen.ask(client, number)
            if stop.wait(max(0.0, 1 / rate - (time.monotonic() - began))):
                return


def rate_of(address: str) -> float:
    """Requests a second that one of as many callers gets when none of them waits."""
    stop, alone = threading.Event(), [Seen() for _ in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        loads = [pool.submit(load, address, 1e9, stop, seen) for seen in alone]
        time.sleep(2)
        stop.set()
        for one in loads:
            one.result()
    return sum(seen.statuses.total() for seen in alone) / 2 / CALLERS


@pytest.mark.slow_fault
@pytest.mark.parametrize("names", [("transitions", "als", "popularity"), ("blend", "transitions", "popularity")])
def test_swaps_under_load_fail_no_request_and_no_answer_mixes_versions(world: World, names: tuple[str, ...]) -> None:
    world.fill()
    for name in names:
        for data in (forwards(), backwards()):
            world.publish(name, data)
    with world.served() as client, ThreadPoolExecutor(CALLERS) as pool:
        address = str(client.base_url)
        alone = Seen()
        for versions in itertools.product((1, 2), repeat=len(names)):
            for name, version in zip(names, versions, strict=True):
                promote(client, name, version)
            for number in range(len(ASKED)):
                alone.ask(client, number)
        assert all(len(lists) == 1 for lists in alone.lists.values())
        personal = [lists for (path, _), lists in alone.lists.items() if path == "/v1/recommendations"]
        assert len(personal) == len(set(map(tuple, map(sorted, personal)))) == 4  # a mixture would show

        rate, stop, seen = SHARE * rate_of(address), threading.Event(), [Seen() for _ in range(CALLERS)]
        loads = [pool.submit(load, address, rate, stop, one) for one in seen]
        for swap in range(SWAPS):
            name = names[swap % len(names)]
            if swap % 5 == 4:
                client.post(f"/v1/models/{name}/rollback").raise_for_status()
            else:
                promote(client, name, 3 - client.get("/readyz").json()["models"][name])
        stop.set()
        for one in loads:
            one.result()
    assert sum((one.statuses for one in seen), Counter()).keys() == {200}
    for one in seen:
        for said, lists in one.lists.items():
            assert said in alone.lists, said
            assert lists == alone.lists[said], said
