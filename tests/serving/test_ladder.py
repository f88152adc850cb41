"""Index, Postgres, broker and text model taken away, alone and two at a time: answers with the right label, in time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy.engine import make_url

from core.errors import TextModelUnavailable
from core.registry import open_registry
from core.store import open_store
from models.index import INDEX_FILE
from models.text.generator import Generation, Limits, Prompt
from tests.serving.proxy import Proxy, proxied
from tests.serving.test_bad_input import problem
from tests.serving.world import World, ids, item

FAULTS = ("index", "postgres cut", "postgres hangs", "broker", "text model")
PAIRS = [pair for pair in combinations(FAULTS, 2) if pair != ("postgres cut", "postgres hangs")]
WITHIN_S = 4.0  # a history may take a second; the rest is for a busy machine


class Away:
    """A text model that is not there."""

    name = "away"

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        raise TextModelUnavailable("the text model does not answer")


@pytest.fixture
def faulty(full_world: World) -> World:
    """The full world, and a second version of als whose index is none, published as it is."""
    (first,) = full_world.registry.versions("als")
    source = full_world.folder / "without-index"
    source.mkdir()
    for file in full_world.registry.open(first).iterdir():
        if file.name != "manifest.json":
            (source / file.name).write_bytes(b"no index" if file.name == INDEX_FILE else file.read_bytes())
    full_world.registry.publish("als", source, trained_until=None, snapshot="", config={}, metrics=first.metrics)
    return full_world


def check(client: httpx.Client, faults: Sequence[str], proxy: Proxy, healthy: list[str]) -> None:
    """What must hold with these faults, now that the server runs."""
    away = any(fault.startswith("postgres") for fault in faults)
    if "postgres cut" in faults:
        proxy.cut()
    if "postgres hangs" in faults:
        proxy.hang()
    began = time.monotonic()
    known = client.get("/v1/users/u1/recommendations")
    assert time.monotonic() - began < WITHIN_S, faults
    assert (known.status_code, known.json()["fallback"]) == (200, "popular" if away else None), faults
    assert len(ids(known.json())) == 10
    session = client.post("/v1/recommendations", json={"history": [{"item": "i20"}]}).json()
    assert (ids(session), session["fallback"]) == (healthy, None), faults  # without an index, every vector is searched
    told = client.post("/v1/recommendations", json={"user": "u1", "history": [{"item": "i20"}]}).json()
    assert told["fallback"] == ("session" if away else None), faults
    stranger = client.get("/v1/users/never-heard-of/recommendations").json()
    assert (stranger["fallback"], len(stranger["items"])) == ("popular", 10), faults
    for path in ("/readyz", "/healthz", "/metrics", "/v1/items/i3", "/v1/items/i3/similar", "/v1/items/i3/content"):
        assert client.get(path).status_code == 200, (path, faults)
    event = client.post("/v1/events", json={"type": "interaction.view", "data": {"user": "u1", "item": "i1"}})
    if "broker" in faults:
        assert problem(event, 503)["code"] == "broker_unavailable"
    else:
        assert event.status_code == 202, faults
    if "postgres hangs" not in faults:
        text = client.post("/v1/content", json={"item": "i3"})
        assert (text.status_code, text.json()["origin"], text.json()["stored"]) == (200, "template", not away), faults


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow_fault)])
def test_whatever_is_away_answers_come_with_their_label(faulty: World, number: int) -> None:
    url = make_url(faulty.settings.database_url or "")
    for faults in [(fault,) for fault in FAULTS] if number == 1 else PAIRS:
        faulty.registry.promote("als", 2 if "index" in faults else 1, "for this test")
        with ExitStack() as stack:
            proxy = stack.enter_context(proxied(url.host or "127.0.0.1", url.port or 5432))
            through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
            changed: dict[str, Any] = {"database_url": through}
            if "broker" in faults:
                changed["kafka_bootstrap"] = "127.0.0.1:1"
            settings = msgspec.structs.replace(faulty.settings, **changed)
            store = stack.enter_context(open_store(settings))
            parts = {"settings": settings, "store": store, "registry": open_registry(settings, store)}
            if "text model" in faults:
                parts["generator"] = Away()
            client = stack.enter_context(faulty.served(**parts))
            ready = client.get("/readyz").json()
            assert ready["models"]["als"] == (2 if "index" in faults else 1)
            healthy = ids(client.post("/v1/recommendations", json={"history": [{"item": "i20"}]}).json())
            check(client, faults, proxy, healthy)


def test_each_step_of_the_ladder_is_named(world: World) -> None:
    """A personal model, item to item, popularity, counts of Postgres, and then only what is new."""

    def labels() -> tuple[str | None, str | None]:
        """For a user with a history, and for one without."""
        with world.served() as client:
            answers = [client.get(f"/v1/users/{user}/recommendations").json() for user in ("u1", "never-heard-of")]
        assert all(len(ids(answer)) == 10 for answer in answers)
        return answers[0]["fallback"], answers[1]["fallback"]

    world.fill()
    assert labels() == ("popular", "popular")  # by Postgres' own counts
    world.train("popularity")
    assert labels() == ("popular", "popular")
    world.train("transitions")
    assert labels() == ("item-item", "popular")
    world.train("als")
    assert labels() == (None, "popular")


def test_with_nothing_but_a_catalogue_the_newest_items_are_shown(world: World) -> None:
    world.change(*(item(n) for n in range(20)))
    with world.served() as client:
        answer = client.get("/v1/users/u1/recommendations").json()
        assert (answer["fallback"], len(answer["items"])) == ("static", 10)
        assert client.get("/readyz").status_code == 200


def test_what_was_damaged_in_the_cache_of_a_remote_store_is_fetched_again(full_world: World, tmp_path: Path) -> None:
    remote = msgspec.structs.replace(full_world.settings, artifacts=f"memory://{tmp_path.name}")
    registry = open_registry(remote, full_world.store)
    live = full_world.registry.live()
    version = registry.publish(
        "als", full_world.registry.open(live["als"]), trained_until=None, snapshot="", config={}, metrics={}
    )  # fmt: skip
    first = registry.open(version)
    (first / "model.json").write_bytes(b"{}")
    assert (registry.open(version) / "model.json").read_bytes() != b"{}"
