"""One training run, top to bottom: snapshot -> fit -> evaluate -> gate -> publish."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec

from core.errors import InvalidRequest, NotFound
from core.store.versions import ModelVersion
from features.interactions import Interactions
from features.snapshot import Snapshot, take_snapshot
from jobs.context import JobContext
from jobs.fitting import Fitting, bounded, catalogue_texts, config_of
from jobs.gate import BASELINE, METRIC, Verdict, fault, judge
from jobs.resume import Run, running
from jobs.update import keep_counts
from models import RECOMMENDERS
from models.blend import Blend, BlendConfig
from models.evaluation import Row, evaluate
from models.index import INDEX_FILE, VectorIndex
from models.item_features import ItemFeatures
from models.protocols import Split, time_split
from models.recommender import Recommender, VectorRecommender
from models.transitions import Transitions

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

    `until` leaves out what happened at or after it. A run that was killed goes on from its checkpoints, on the data that it
    had. Raises NotFound for an unknown name, Conflict when there is nothing to learn from, DatabaseUnavailable and Unavailable
    when the database or the artifact store is away.
    """
    unknown = [name for name in names if name not in RECOMMENDERS]
    if unknown:
        raise NotFound(f"there is no model {unknown[0]!r}; choose from {', '.join(RECOMMENDERS)}")
    with running(context, _with_members(names, context), seed, until) as run:
        data = read(run.snapshot, context)
        if until is not None:
            data = data.before(until.timestamp())
        return _Training(names, context, run, data, seed, whole=until is None).run()


def evaluate_own(names: Sequence[str], context: JobContext, seed: int = 0) -> list[Row]:
    """Evaluate models on a time split of the project's own events: what `headwater evaluate` prints and the gate uses.

    Raises InvalidRequest when there are too few events to split.
    """
    data = read(take_snapshot(context.store.events, context.artifacts, context.reporter), context)
    fitting = _fitting(names, context, seed)
    fits: dict[str, Any] = {name: partial(fitting.fit, name, config_of(name, context)) for name in names}
    return evaluate(fits, bounded(time_split(data)), METRICS, seed, context.reporter, _features(context))


def read(snapshot: Snapshot, context: JobContext) -> Interactions:
    """The snapshot's interactions, weighted by the settings."""
    return Interactions.from_parquet(list(snapshot.files), context.settings.kind_weights)


def try_split(data: Interactions) -> Split | None:
    """The gate's time split; None when the data is too small for one."""
    try:
        return bounded(time_split(data))
    except InvalidRequest:
        return None


class _Training:
    """The steps of one run after its snapshot; `whole` says that it learns from all that has happened."""

    def __init__(
        self, names: Sequence[str], context: JobContext, run: Run, data: Interactions, seed: int, *, whole: bool
    ) -> None:
        # the baseline first: the others are held against it; the blend last: it takes what the others fitted
        self.names = sorted(dict.fromkeys(names), key=lambda one: (one != BASELINE, one == Blend.name))
        self.context, self.snapshot, self.data, self.seed, self.whole = context, run.snapshot, data, seed, whole
        self.split = try_split(data)
        self.live = context.registry.live()
        self.rows: dict[str, Row] = {}
        self.fitting = _fitting(names, context, seed, run.checkpoints)

    def run(self) -> list[Trained]:
        return [self._one(name) for name in self.names]

    @cached_property
    def features(self) -> ItemFeatures:
        """Read only where there is a split to describe lists on."""
        return _features(self.context)

    def _one(self, name: str) -> Trained:
        config = config_of(name, self.context)
        for one, its in {BASELINE: config_of(BASELINE, self.context), name: config}.items():
            if one not in self.rows and (row := self._measured(one, its)) is not None:
                self.rows[one] = row
        began = time.perf_counter()
        if isinstance(config, BlendConfig) and self.split is not None:
            # The weights that were judged: found before the split's cut, never on what it asks.
            config = self.fitting.fit(name, config, self.split.train).config
            began -= self.rows[name].fit_s
        model = self.fitting.fit(name, config, self.data, texts_of_all=True)
        fit_s = time.perf_counter() - began
        verdict = judge(
            self.rows.get(name), self.rows.get(BASELINE), self._live(name, config), personal=name != BASELINE,
            n_items=model.item_ids.size, rival=self._rival() if name == Blend.name else None,
            fault=fault(model, self.data, self.seed),
        )  # fmt: skip
        return Trained(self._publish(model, verdict), self.rows.get(name), verdict, fit_s)

    def _measured(self, name: str, config: Any) -> Row | None:
        """How a configuration does on the split, fitted on its training part; None when there is none."""
        if self.split is None:
            return None
        fit = partial(self.fitting.fit, name, config)
        return evaluate({name: fit}, self.split, METRICS, self.seed, self.context.reporter, self.features)[0]

    def _live(self, name: str, config: Any) -> Row | None:
        """What serves now, fitted on the same training part: the live files have seen the test part and may not compete."""
        if name not in self.live or self.live[name].config == msgspec.to_builtins(config):
            return None
        try:
            before = msgspec.convert(self.live[name].config, RECOMMENDERS[name].config_type)
        except msgspec.ValidationError:
            return None  # the live version's configuration has fields that this code no longer knows
        return self._measured(name, before)

    def _rival(self) -> Row | None:
        """The best of the live personal models, which serve in turn while no blend does."""
        live = self.context.registry.live()
        rivals = [name for name in live if name in RECOMMENDERS and name not in (BASELINE, Blend.name)]
        for name in rivals:
            if name not in self.rows and (row := self._measured(name, config_of(name, self.context))) is not None:
                self.rows[name] = row
        return max((self.rows[name] for name in rivals if name in self.rows), key=_figure, default=None)

    def _publish(self, model: Recommender, verdict: Verdict) -> ModelVersion:
        """Store the model, with its index where it has vectors, and promote it or record the refusal."""
        context, row = self.context, self.rows.get(model.name)
        with tempfile.TemporaryDirectory(prefix="headwater-model-") as folder:
            model.save(Path(folder))
            if verdict.passed and isinstance(model, VectorRecommender):
                VectorIndex.build(model.item_vectors()).save(Path(folder) / INDEX_FILE)
            version = context.registry.publish(
                model.name, Path(folder), trained_until=self.snapshot.trained_until, snapshot=self.snapshot.name,
                config=msgspec.to_builtins(model.config), metrics=row.as_json() if row is not None else {},
            )  # fmt: skip
        if verdict.passed:
            if self.whole and isinstance(model, Transitions) and model.counts is not None:
                keep_counts(version, model.counts, self.snapshot, context)
            context.registry.promote(version.name, version.version, verdict.reason)
        else:
            context.registry.refuse(version.name, version.version, verdict.reason)
        context.registry.prune(version.name, context.settings.keep_versions)
        return context.store.versions.version(version.name, version.version)


def _fitting(names: Sequence[str], context: JobContext, seed: int, checkpoints: Path | None = None) -> Fitting:
    """Of models of the project's own events and catalogue."""
    shared = set(_with_members(names, context)) if Blend.name in names else frozenset[str]()
    return Fitting(context.reporter, partial(catalogue_texts, context), seed, shared, checkpoints)


def _features(context: JobContext) -> ItemFeatures:
    """The catalogue's categories, by which lists are described; models are given none of it."""
    return ItemFeatures(categories=context.store.catalogue.categories())


def _with_members(names: Sequence[str], context: JobContext) -> list[str]:
    """The names, and those of the blend's members where it is among them."""
    if Blend.name not in names:
        return list(names)
    return list(dict.fromkeys([*names, *(member.name for member in config_of(Blend.name, context).members)]))


def _figure(row: Row) -> float:
    return row.metrics[METRIC]
