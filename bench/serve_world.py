"""The world that bench/serve.py asks: a made-up shop of any size in Postgres, and the default models trained on it.

Popularity follows Zipf's law within clusters of items, people keep to a few clusters of their own and come in sessions. It is
made once and kept under its home, for training on a million items takes a while. Each model is fitted once, and the blend has
the same as its members; beyond SOLVED_ITEMS the weights of the linear member are counted rather than solved for, which is what
takes hours: as many neighbours for each item, in the same places, so that a request costs the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.progress import Reporter
from core.registry import Registry, open_registry
from core.settings import Settings
from core.store import Store
from core.store.versions import ModelVersion
from features.interactions import Interactions
from migrations.run import upgrade
from models import RECOMMENDERS
from models.als import ALSConfig
from models.blend import Blend, BlendConfig, Member, member_config
from models.index import INDEX_FILE, VectorIndex
from models.linear import Linear, LinearConfig
from models.neighbours import Neighbours, strongest
from models.recommender import Recommender, VectorRecommender
from models.step_counts import StepCounts

STEPS = 50  # interactions of a user, on average
STORED_USERS = 20_000  # whose events are in Postgres: whom requests ask for
CLUSTER_ITEMS = 100
DAYS = 25
LINES_AT_ONCE = 50_000
SOLVED_ITEMS = 20_000
ROWS_AT_ONCE = 20_000
# Given rather than learned: which they are changes the order of answers and nothing of their cost.
WEIGHTS = (0.4, 0.25, 0.1, 0.1, 0.15)
ALS = {"iterations": 3}
CONFIGS: dict[str, Any] = {
    "als": ALSConfig(**ALS),
    # What jobs/train.py makes of it: the default members, and every other model that is trained.
    "blend": BlendConfig((*BlendConfig().members, Member("als", ALS)), WEIGHTS),
}


@dataclass(frozen=True)
class Habits:
    """Who did what, sorted by user and time: `users`, `items` (n,) int32 numbers, `times_s` (n,) float64."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times_s: NDArray[np.float64]


def habits(n_items: int, n_users: int, seed: int = 1) -> Habits:
    """Interactions of `n_users`, STEPS each on average, with `n_items`."""
    rng = np.random.default_rng(seed)
    clusters = max(1, n_items // CLUSTER_ITEMS)
    length = np.clip(rng.lognormal(np.log(STEPS) - 0.32, 0.8, n_users), 3, 400).astype(np.int64)
    users = np.repeat(np.arange(n_users, dtype=np.int32), length)
    n = len(users)
    tastes = (clusters ** rng.random((n_users, 3))).astype(np.int64) - 1  # clusters have their popularity, too
    cluster = tastes[users, rng.choice(3, n, p=(0.6, 0.3, 0.1))]
    strays = rng.random(n) < 0.15
    cluster[strays] = rng.integers(0, clusters, int(strays.sum()))
    rank = (CLUSTER_ITEMS ** rng.random(n)).astype(np.int64) - 1
    items = np.minimum(rank * clusters + cluster, n_items - 1).astype(np.int32)
    now_s = time.time()
    times_s = now_s - 3600 - DAYS * 86_400 * rng.random(n)
    order = np.lexsort((times_s, users))
    return Habits(users, items[order], times_s[order])


def item(number: int) -> str:
    """The id of an item."""
    return f"item-{number:07d}"


def user(number: int) -> str:
    """The id of a user."""
    return f"user-{number:07d}"


def live_of_two(registry: Registry, store: Store) -> ModelVersion:
    """The live blend, of which there is another version afterwards."""
    live = registry.live()["blend"]
    if len(store.versions.versions("blend")) < 2:
        registry.publish(
            "blend", registry.open(live), trained_until=live.trained_until, snapshot="bench", config=live.config,
            metrics=live.metrics,
        )  # fmt: skip
    return live


def make(settings: Settings, store: Store, n_items: int, reporter: Reporter, names: tuple[str, ...]) -> None:
    """Fill Postgres and publish the models `names`, unless that was done."""
    upgrade(settings.database_url or "", settings.namespace)
    done = settings.home / f"made-with-als-{n_items}"
    if done.exists():
        return
    n_users = max(STORED_USERS, n_items // 10)
    shutil.rmtree(settings.home / "artifacts", ignore_errors=True)  # of a making that was broken off
    made = habits(n_items, n_users)
    _fill(store, made, n_items, reporter)
    _train(settings, store, made, n_items, reporter, names)
    done.touch()


def _fill(store: Store, made: Habits, n_items: int, reporter: Reporter) -> None:
    store.partitions.attach_ahead(2, datetime.now(UTC) - timedelta(days=DAYS + 1))
    stored = int(np.searchsorted(made.users, STORED_USERS))
    changed = datetime.now(UTC).isoformat()
    catalogue = (
        f'{item(n)}\tItem {n}\t{{c{n % max(1, n_items // CLUSTER_ITEMS)}}}\t{{"price": {n % 100}}}\t{changed}\t{UUID(int=n)}\t1\n'
        for n in range(n_items)
    )
    events = (
        f"{UUID(int=at)}\t/bench\te{at}\tinteraction.view\t{datetime.fromtimestamp(second, UTC).isoformat()}\t"
        f"{user(who)}\t{item(what)}\t1\n"
        for at, (who, what, second) in enumerate(
            zip(made.users[:stored].tolist(), made.items[:stored].tolist(), made.times_s[:stored].tolist(), strict=True)
        )
    )
    counts = np.bincount(made.users[:stored], minlength=STORED_USERS).tolist()
    per_user = (f"{user(who)}\t{count}\n" for who, count in enumerate(counts))
    popular = np.bincount(made.items[:stored], minlength=n_items)
    per_item = (f"{item(what)}\tinteraction.view\t{popular[what]}\n" for what in np.flatnonzero(popular).tolist())
    with reporter.task("filling Postgres", n_items + stored) as task, store.database.begin() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("TRUNCATE events, event_keys, item_counts, user_counts, items, model_versions")
        for table, columns, lines in (
            ("items", "item_id, title, categories, attributes, changed_at, changed_key, txn", catalogue),
            ("events", "key, source, id, type, time, user_id, item_id, txn", events),
            ("user_counts", "user_id, events", per_user),
            ("item_counts", "item_id, type, events", per_item),
        ):
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", _Lines(lines, task.advance))
    with store.database.read() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM ANALYZE events, items, user_counts")


def _train(
    settings: Settings, store: Store, made: Habits, n_items: int, reporter: Reporter, names: tuple[str, ...]
) -> None:
    ids = np.array([item(n) for n in range(n_items)])
    bought = np.unique(made.items, return_inverse=True)
    user_ids = np.array([user(n) for n in range(int(made.users[-1]) + 1)], np.object_)
    data = Interactions(
        user_ids, ids[bought[0]].astype(np.object_), made.users, bought[1].astype(np.int32), made.times_s,
        np.ones(len(made.users), np.float32), np.zeros(len(made.users), np.int16), ("view",),
    )  # fmt: skip
    registry = open_registry(settings, store)
    fitted: dict[str, Recommender] = {}
    for name in names:
        model = (
            _blend(data, fitted, reporter)
            if name == Blend.name
            else _fitted(name, CONFIGS.get(name), data, fitted, reporter)
        )
        folder = settings.home / "made" / name
        model.save(folder)
        if isinstance(model, VectorRecommender):
            with reporter.task("index", 1):
                VectorIndex.build(model.item_vectors()).save(folder / INDEX_FILE)
        version = registry.publish(
            name, folder, trained_until=datetime.now(UTC), snapshot="bench", config=msgspec.to_builtins(model.config),
            metrics={"metrics": {"ndcg@10": 0.1}},
        )  # fmt: skip
        registry.promote(name, version.version, "the bench's own")
        shutil.rmtree(folder)


def _blend(data: Interactions, fitted: dict[str, Recommender], reporter: Reporter) -> Blend:
    config: BlendConfig = CONFIGS["blend"]
    members = [_fitted(one.name, member_config(one), data, fitted, reporter) for one in config.members]
    return Blend.of(members, config)


def _fitted(
    name: str, config: Any, data: Interactions, fitted: dict[str, Recommender], reporter: Reporter
) -> Recommender:
    """The model of this name and configuration, fitted at most once."""
    key = f"{name} {config or RECOMMENDERS[name].config_type()}"
    if key not in fitted:
        counted = name == Linear.name and data.n_items > SOLVED_ITEMS
        fitted[key] = _counted(data, config, reporter) if counted else RECOMMENDERS[name].fit(data, config, 0, reporter)
    return fitted[key]


def _counted(data: Interactions, config: LinearConfig, reporter: Reporter) -> Linear:
    """A linear model of as many neighbours, in the same places, whose weights are shares of steps."""
    steps = StepCounts.of(data, config.window, 1.0, reporter).steps
    support = _strongest(steps.T.tocsr(), config.support).T.tocsr()  # what each item is regressed on
    totals = np.maximum(np.asarray(steps.sum(axis=1)).ravel(), 1.0)
    support.data = (support.data / np.repeat(totals, np.diff(support.indptr))).astype(np.float32)
    weights = _strongest(support, config.neighbours).astype(np.float32)
    neighbours = Neighbours(weights, config.history, config.recency)
    return Linear(config, data.item_ids, float(data.time_s.max()), neighbours)


def _strongest(matrix: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The n largest of each row, in memory that does not grow with all of them."""
    parts = [strongest(matrix[at : at + ROWS_AT_ONCE], n) for at in range(0, matrix.shape[0], ROWS_AT_ONCE)]
    return sparse.vstack(parts, format="csr")


class _Lines:
    """COPY's input, made as it is read."""

    def __init__(self, lines: Iterator[str], advance: Any) -> None:
        self._lines, self._advance = lines, advance
        self._left = BytesIO()

    def read(self, size: int) -> bytes:
        """The next bytes, nothing at the end."""
        found = self._left.read(size)
        if not found:
            taken = [line for _, line in zip(range(LINES_AT_ONCE), self._lines, strict=False)]
            self._advance(len(taken))
            self._left = BytesIO("".join(taken).encode())
            found = self._left.read(size)
        return found
