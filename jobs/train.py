"""One training run, top to bottom: snapshot -> fit -> evaluate -> gate -> publish."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from core.errors import InvalidRequest, NotFound
from core.store.versions import ModelVersion
from features.interactions import Interactions
from features.snapshot import Snapshot, take_snapshot
from jobs.context import JobContext
from jobs.gate import BASELINE, METRIC, Verdict, judge
from models import RECOMMENDERS
from models.evaluation import Row, evaluate
from models.index import INDEX_FILE, VectorIndex
from models.protocols import Split, time_split
from models.recommender import Recommender, VectorRecommender

METRICS = ("hr@10", METRIC)


@dataclass(frozen=True)
class Trained:
    """One model of a run: its registry entry, how it did on the time split (None: too little data), and the verdict."""

    version: ModelVersion
    row: Row | None
    verdict: Verdict
    fit_s: float


def train(names: Sequence[str], context: JobContext, *, seed: int = 0, until: datetime | None = None) -> list[Trained]:
    """Train the named models on one snapshot and promote those that pass the gate.

    `until` leaves out what happened at or after it. Raises NotFound for an unknown name, Conflict when there is nothing
    to learn from, DatabaseUnavailable and Unavailable when the database or the artifact store is away.
    """
    unknown = [name for name in names if name not in RECOMMENDERS]
    if unknown:
        raise NotFound(f"there is no model {unknown[0]!r}; choose from {', '.join(RECOMMENDERS)}")
    snapshot = take_snapshot(context.store.events, context.artifacts, context.reporter)
    data = read(snapshot, context)
    if until is not None:
        data = data.before(until.timestamp())
    split = try_split(data)
    live = context.registry.live()
    rows: dict[str, Row] = {}
    trained = []
    for name in sorted(names, key=lambda one: one != BASELINE):  # the baseline first: the others are held against it
        config = config_of(name, context)
        began = time.perf_counter()
        model = RECOMMENDERS[name].fit(data, config, seed, context.reporter)
        fit_s = time.perf_counter() - began
        if split is not None:
            rows |= _measure([name, BASELINE], rows, split, config, seed, context)
        verdict = judge(
            rows.get(name), rows.get(BASELINE), _live_row(name, config, live, split, seed, context),
            personal=name != BASELINE, n_items=model.item_ids.size,
        )  # fmt: skip
        version = _publish(model, config, snapshot, rows.get(name), verdict, context)
        trained.append(Trained(version, rows.get(name), verdict, fit_s))
    return trained


def evaluate_own(names: Sequence[str], context: JobContext, seed: int = 0) -> list[Row]:
    """Evaluate models on a time split of the project's own events: what `headwater evaluate` prints and the gate uses.

    Raises InvalidRequest when there are too few events to split.
    """
    data = read(take_snapshot(context.store.events, context.artifacts, context.reporter), context)
    fits = {name: _fit(name, config_of(name, context), seed, context) for name in names}
    return evaluate(fits, time_split(data), METRICS, seed, context.reporter)


def read(snapshot: Snapshot, context: JobContext) -> Interactions:
    """The snapshot's interactions, weighted by the settings."""
    return Interactions.from_parquet(list(snapshot.files), context.settings.kind_weights)


def try_split(data: Interactions) -> Split | None:
    """The gate's time split; None when the data is too small for one."""
    try:
        return time_split(data)
    except InvalidRequest:
        return None


def config_of(name: str, context: JobContext) -> Any:
    """A model's own configuration, on the device of the settings where it can choose one."""
    config = RECOMMENDERS[name].config_type()
    return replace(config, device=context.settings.device) if hasattr(config, "device") else config


def _fit(name: str, config: Any, seed: int, context: JobContext) -> Any:
    return partial(RECOMMENDERS[name].fit, config=config, seed=seed, reporter=context.reporter)


def _measure(
    names: Sequence[str], known: dict[str, Row], split: Split, config: Any, seed: int, context: JobContext
) -> dict[str, Row]:
    """Rows of those names not measured yet; `config` is the first's, the baseline has its own."""
    configs = {BASELINE: config_of(BASELINE, context), names[0]: config}
    fits = {name: _fit(name, configs[name], seed, context) for name in configs if name not in known}
    return {row.model: row for row in evaluate(fits, split, METRICS, seed, context.reporter)} if fits else {}


def _live_row(
    name: str, config: Any, live: dict[str, ModelVersion], split: Split | None, seed: int, context: JobContext
) -> Row | None:
    """What serves now, fitted on the same training part: the live files have seen the test part and may not compete."""
    if split is None or name not in live or live[name].config == msgspec.to_builtins(config):
        return None
    try:
        before = msgspec.convert(live[name].config, RECOMMENDERS[name].config_type)
    except msgspec.ValidationError:
        return None  # the live version's configuration has fields that this code no longer knows
    return evaluate({name: _fit(name, before, seed, context)}, split, METRICS, seed, context.reporter)[0]


def _publish(
    model: Recommender, config: Any, snapshot: Snapshot, row: Row | None, verdict: Verdict, context: JobContext
) -> ModelVersion:
    """Store the model, with its index where it has vectors, and promote it or record the refusal."""
    metrics = row.as_json() if row is not None else {}
    with tempfile.TemporaryDirectory(prefix="headwater-model-") as folder:
        model.save(Path(folder))
        if isinstance(model, VectorRecommender):
            VectorIndex.build(model.item_vectors()).save(Path(folder) / INDEX_FILE)
        version = context.registry.publish(
            model.name, Path(folder), trained_until=snapshot.trained_until, snapshot=snapshot.name,
            config=msgspec.to_builtins(config), metrics=metrics,
        )  # fmt: skip
    if verdict.passed:
        context.registry.promote(version.name, version.version, verdict.reason)
    else:
        context.registry.refuse(version.name, version.version, verdict.reason)
    return context.store.versions.version(version.name, version.version)
