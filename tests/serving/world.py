"""A world for serving: a catalogue, people with habits, models trained on them, and a real server on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from core.bus import ensure_topic
from core.events import ItemChanged
from core.registry import Registry, open_registry
from core.settings import Settings
from core.store import Store, open_store
from core.store.versions import ModelVersion
from features.interactions import Interactions
from ingest.consumer import run_consumer
from models import RECOMMENDERS
from models.als import ALSConfig
from models.blend import BlendConfig, Member
from models.index import VectorIndex
from models.recommender import VectorRecommender
from serving.app import create_app
from serving.server import serving
from tests.streams import Writer, event, habits

ITEMS, USERS, STEPS = 40, 30, 12
CONFIGS = {
    "als": ALSConfig(factors=8, iterations=5),
    "blend": BlendConfig((Member("transitions"), Member("linear", {"regularization": 1.0})), (0.8, 0.2)),
}
NDCG = {"als": 0.2, "transitions": 0.3, "popularity": 0.05}


class World:
    """One tenant. Items i0 to i39, even ones in "even", odd ones in "odd", i7 alone in "rare"; users walk from n to n + 1."""

    def __init__(self, settings: Settings, store: Store, folder: Path) -> None:
        self.settings, self.store, self.folder = settings, store, folder
        self.registry: Registry = open_registry(settings, store)
        self.writer = Writer(store)
        self.number = 0

    def fill(self) -> None:
        """The catalogue and the habits, straight into Postgres."""
        self.change(*(item(n) for n in range(ITEMS)))
        self.writer.write(habits(USERS, ITEMS, STEPS, first=10_000))

    def change(self, *items: ItemChanged) -> None:
        """New states of items, in the order of the calls."""
        changes = []
        for one in items:
            self.number += 1
            changes.append(event(self.number, one, source="/catalogue"))
        self.writer.write(changes)

    def train(self, *names: str, promote: bool = True) -> dict[str, ModelVersion]:
        """Fit, publish and promote models (those of NDCG by default) on the habits."""
        walks = habits(USERS, ITEMS, STEPS)
        columns = [(one.body.user, one.body.item, one.time.timestamp()) for one in walks]  # type: ignore[union-attr]
        users, items, times = zip(*columns, strict=True)
        data = Interactions.from_columns(list(users), list(items), list(times))
        return {name: self.publish(name, data, promote=promote) for name in names or NDCG}

    def publish(self, name: str, data: Interactions, *, promote: bool = True) -> ModelVersion:
        """Fit one model on `data`, publish it with its index, and promote it."""
        model = RECOMMENDERS[name].fit(data, CONFIGS.get(name))
        self.number += 1
        folder = self.folder / f"{name}-{self.number}"
        model.save(folder)
        if isinstance(model, VectorRecommender):
            VectorIndex.build(model.item_vectors()).save(folder / "index.faiss")
        version = self.registry.publish(
            name,
            folder,
            trained_until=None,
            snapshot="test",
            config=msgspec.to_builtins(model.config),
            metrics={"metrics": {"ndcg@10": NDCG.get(name, 0.1), "hr@10": 0.4}},
        )
        if promote:
            self.registry.promote(name, version.version, "better than popularity in the test")
        return version

    @contextmanager
    def served(self, **parts: Any) -> Iterator[httpx.Client]:
        """A real server on this world, and a client of it."""
        settings = parts.pop("settings", self.settings)
        app = create_app(settings, parts.pop("store", self.store), parts.pop("registry", self.registry), **parts)
        with serving(app) as address, httpx.Client(base_url=address, timeout=30) as client:
            yield client


def item(number: int, **state: Any) -> ItemChanged:
    """Item `i<number>` of the catalogue."""
    categories = ("even" if number % 2 == 0 else "odd", *(("rare",) if number == 7 else ()))
    return ItemChanged(**{"item": f"i{number}", "title": f"Item {number}", "categories": categories, **state})


def ids(answer: dict[str, Any]) -> list[str]:
    """The items of an answer."""
    return [one["item"] for one in answer["items"]]


def eventually(true: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something that happens soon, and fail when it does not."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def ingesting(world: World) -> Iterator[None]:
    """The real consumer, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(
        target=run_consumer, args=(world.settings, world.store), kwargs={"stop": stop}, daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=20)


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[World]:
    """An empty world, its topic made."""
    assert settings.kafka_bootstrap is not None
    ensure_topic(settings.kafka_bootstrap, settings.topic, 2)
    with ExitStack() as stack:
        yield World(settings, stack.enter_context(open_store(settings)), tmp_path / "models")


@pytest.fixture
def full_world(world: World) -> World:
    """A world with a catalogue, habits and all models live."""
    world.fill()
    world.train()
    return world
