"""The live models: whatever the registry calls live is loaded beside what serves, checked, warmed, then swapped in.

A version that cannot be loaded is refused, counted and logged, and the one before serves on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from ctypes import CDLL
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import ArtifactCorrupt, HeadwaterError, Unavailable
from core.registry import Registry
from core.store.versions import ModelVersion
from core.telemetry import MODEL_AGE_SECONDS, MODEL_REFUSED, MODEL_VERSION
from features.interactions import IdTable
from models import blend_search  # noqa: F401 -- compiled at the start of a process, not when a blend is loaded
from models.blend import Blend, member_config
from models.index import INDEX_FILE, VectorIndex
from models.loading import load_recommender
from models.popularity import Popularity
from models.recommender import Recommender, UserBatch, VectorRecommender
from serving.catalogue import LiveCatalogue, Mask, Rows

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0
METRIC = "ndcg@10"
ITEM_TO_ITEM = frozenset({"transitions", "linear", "content", "repeat"})  # a history is a list of items to them
LEAST_WEIGHT = 0.01  # of a model that was never measured, or found to be hopeless


@dataclass(frozen=True)
class Served:
    """A loaded model. `rows` (n_items,) int32 are the catalogue's rows of its items; `index` searches its item vectors.

    `members` are the live versions, by name, that a blend asks in place of those it was published with; `published` the
    catalogue's rows of the items that it had then.
    """

    version: ModelVersion
    model: Recommender
    items: IdTable
    rows: Rows
    index: VectorIndex | None = None
    members: Mapping[str, ModelVersion] = field(default_factory=dict)
    published: Rows | None = None

    @property
    def trained_rows(self) -> Rows:
        """Catalogue rows of the items it was trained on: those that live members learned of since are not among them."""
        return self.rows if self.published is None else self.published

    @property
    def label(self) -> str:
        """How answers name the version."""
        return f"v{self.version.version}"

    @cached_property
    def personal(self) -> bool:
        """Whether it looks at the user as a whole, rather than walking from item to item."""
        return self.version.name not in ITEM_TO_ITEM

    @cached_property
    def labels(self) -> dict[str, str]:
        """The versions that speak when it is asked: its own, and those of live members."""
        return {self.version.name: self.label, **{name: f"v{one.version}" for name, one in self.members.items()}}

    def recommend(self, users: UserBatch, k: int, allowed: Mask) -> Rows:
        """Catalogue rows of the best k items, best first, for a batch of one; `allowed` (n_items,) narrows the search itself."""
        if self.index is not None:
            found, _ = self.index.search(cast(VectorRecommender, self.model).encode(users), k, allowed)
        else:
            found, _ = self.model.recommend(users, k, ~allowed)
        return self._catalogued(found[0])

    def _catalogued(self, found: Rows) -> Rows:
        """The catalogue's rows of what was found, which ends with -1 where that was less than wanted."""
        return self.rows.take(found[found >= 0] if -1 in found[-1:].tolist() else found)

    def best(self, users: UserBatch, k: int, allowed: Mask) -> Rows:
        """As `recommend`, but `allowed` is of the catalogue's rows. A blend looks at no more of it than it must."""
        if isinstance(self.model, Blend):
            found, _ = self.model.best(users, k, allowed, self.rows)
            return self._catalogued(found[0])
        return self.recommend(users, k, allowed[self.rows])

    @cached_property
    def weight(self) -> float:
        """How much its word counts beside other models: its nDCG@10 on the time split it was judged by."""
        figures = self.version.metrics.get("metrics", {})
        figure = figures.get(METRIC, 0.0) if isinstance(figures, dict) else 0.0
        return max(LEAST_WEIGHT, float(figure)) if math.isfinite(figure) else LEAST_WEIGHT

    @cached_property
    def catalogue_order(self) -> dict[str, Rows]:
        """For popularity: catalogue rows by each of its rankings ("popular", "trending"), best first; else empty."""
        if not isinstance(self.model, Popularity):
            return {}
        rankings = {"popular": self.model.popular, "trending": self.model.trending}
        return {name: self.rows[_descending(counts)] for name, counts in rankings.items()}

    @cached_property
    def own(self) -> Rows:
        """The model's row of each row of the catalogue up to its last; and -1, for all others."""
        own = np.full(int(self.rows.max(initial=-1)) + 2, -1, np.int32)
        own[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        return own

    def own_rows(self, rows: Rows) -> Rows:
        """The model's own rows of these of the catalogue, which may be -1: -1 for those it does not know."""
        return self.own.take(np.minimum(rows, len(self.own) - 1))


def _descending(counts: np.ndarray) -> np.ndarray:
    """The rows of counts (n,) float32 above 0, the largest first, of equal ones the first."""
    rows = np.flatnonzero(counts > 0)
    both = np.uint64(2**32 - 1) - counts[rows].view(np.uint32)  # floats above 0 are ordered as their bits are
    both = (both << np.uint64(32)) | rows.astype(np.uint64)  # one number to sort by takes half the time
    both.sort()
    return (both & np.uint64(2**32 - 1)).astype(np.int64)


class LiveModels:
    """Keeps `served`, the loaded live models by name. Requests read that one reference and keep what they read."""

    def __init__(self, registry: Registry, catalogue: LiveCatalogue) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._refused: dict[str, int] = {}
        self._refreshing = Lock()
        self._replaced = False  # something, since memory was given back last
        self.served: Mapping[str, Served] = MappingProxyType({})

    def refresh(self) -> None:
        """Load what the registry calls live and is not served yet. Raises DatabaseUnavailable."""
        if self._replaced:  # a poll ago: requests that had the one before are done with it
            self._replaced = False
            _give_memory_back()
        try:
            self.take(self._registry.live())
        finally:
            self._measure()  # models age above all while nothing new can be heard of

    def take(self, live: Mapping[str, ModelVersion]) -> None:
        """Serve these versions, by name, and no others. One that cannot be loaded leaves the one before."""
        with self._refreshing:
            for name in self.served.keys() - live.keys():
                self._swap(name, None)
            for name, version in sorted(live.items(), key=lambda one: one[0] == Blend.name):  # after its members
                served = self.served.get(name)
                if (served is None or served.version.version != version.version) and not self.refused(version):
                    self._take(version)
            self._renew_blend()

    def refused(self, version: ModelVersion) -> bool:
        """Whether this live version could not be loaded."""
        return self._refused.get(version.name) == version.version

    def _take(self, version: ModelVersion) -> None:
        try:
            self._swap(version.name, self._load(version))
        except Unavailable as error:
            log.warning("%s v%d cannot be fetched yet: %s", version.name, version.version, error)
        except Exception as error:
            self._refused[version.name] = version.version
            MODEL_REFUSED.labels(version.name).inc()
            before = self.served.get(version.name)
            instead = f"{before.label} serves on" if before else "nothing serves in its place"
            known = isinstance(error, HeadwaterError)
            log.error(
                "%s v%d is refused, %s: %s",
                version.name,
                version.version,
                instead,
                error,
                exc_info=None if known else error,
            )

    def _load(self, version: ModelVersion) -> Served:
        folder = self._registry.open(version)
        live = {
            name: one.model
            for name, one in self.served.items()
            if one.version.config == msgspec.to_builtins(one.model.config)
        }
        model = load_recommender(version.name, folder, live)
        served = Served(version, model, IdTable(model.item_ids), self._rows(model.item_ids), _index(folder, model))
        if isinstance(model, Blend) and model.saved_ids is not None:
            served = replace(served, members=self._members(model), published=self._rows(model.saved_ids))
        _warm(served)
        return served

    def _rows(self, item_ids: NDArray[np.object_]) -> Rows:
        """The catalogue's rows of a model's items. They are for good: a served model of the same items has them."""
        known = (one.rows for one in self.served.values() if one.items.ids is item_ids)
        found = next(known, None)
        return self._catalogue.rows_for(item_ids.tolist()) if found is None else found

    def _renew_blend(self) -> None:
        """Let the served blend ask the live versions of its members: what they have learned since, it knows as well."""
        blend = self.served.get(Blend.name)
        if blend is None or self._members(cast(Blend, blend.model)) == blend.members:
            return
        try:
            renewed = self._with_members(blend)
            _warm(renewed)
        except HeadwaterError as error:
            log.warning("%s %s keeps the members that it has: %s", Blend.name, blend.label, error)
        else:
            self._swap(Blend.name, renewed)

    def _members(self, blend: Blend) -> dict[str, ModelVersion]:
        """Live and loaded versions with the very configuration of a member."""
        wanted = {one.name: msgspec.to_builtins(member_config(one)) for one in blend.config.members}
        live = {name: self.served[name].version for name in wanted if name in self.served}
        return {name: version for name, version in live.items() if version.config == wanted[name]}

    def _with_members(self, blend: Served) -> Served:
        own = cast(Blend, blend.model)
        members = self._members(own)
        if blend.members.keys() - members.keys():
            return self._load(blend.version)  # for the members of its own
        names = [one.name for one in own.config.members]
        models = [
            self.served[name].model if name in members else model for name, model in zip(names, own.models, strict=True)
        ]
        model = Blend.of(models, own.config)
        rows = self._rows(model.item_ids)
        return Served(
            blend.version, model, IdTable(model.item_ids), rows, members=members, published=blend.trained_rows
        )

    def _swap(self, name: str, served: Served | None) -> None:
        others = {one: self.served[one] for one in self.served if one != name}
        self.served = MappingProxyType(others if served is None else {**others, name: served})
        if served is not None:
            self._refused.pop(name, None)
            log.info("%s %s serves", name, served.label)
        self._replaced = True
        MODEL_AGE_SECONDS.remove(name)  # of another version, if any; _measure says that of this one where it is known
        MODEL_VERSION.labels(name).set(0 if served is None else served.version.version)

    def _measure(self) -> None:
        for name, served in self.served.items():
            if served.version.trained_until is not None:
                age = datetime.now(UTC) - served.version.trained_until
                MODEL_AGE_SECONDS.labels(name).set(age.total_seconds())


def _give_memory_back() -> None:
    """Give back to the system what was freed. The C library keeps it for later, in pieces that the next version does not fit
    into: over many swaps that is another version's worth."""
    trim = getattr(CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _index(folder: Path, model: Recommender) -> VectorIndex | None:
    """The index that was published with the model; None, and an exact search instead, where it has none that fits."""
    file = folder / INDEX_FILE
    if not isinstance(model, VectorRecommender) or not file.exists():
        return None
    try:
        index = VectorIndex.load(file)
    except ArtifactCorrupt as error:
        log.warning("%s; every vector is searched instead", error)
        return None
    return index if index.shape == model.item_vectors().shape else None


def _warm(served: Served) -> None:
    """Ask once what requests will ask, so that no request pays for what is made on first use, and a broken model shows."""
    n = len(served.items)
    if n == 0 or len(served.rows) != n:
        raise ArtifactCorrupt(f"{served.version.name} {served.label} knows no items, or one of them twice")
    first = np.zeros(1, np.int32)
    users = UserBatch.from_histories([(first, np.zeros(1), np.ones(1, np.float32))])
    exclude = np.zeros(n, bool)
    served.recommend(users, 10, ~exclude)
    found, scores = served.model.recommend(users, 10, exclude)
    if found.shape != (1, 10) or found.max(initial=-1) >= n or np.isnan(scores).any():
        raise ArtifactCorrupt(f"{served.version.name} {served.label} answers with items that do not exist")
    served.model.because(users, found, 3)
    served.model.similar(first, 10, exclude)
    _ = served.catalogue_order, served.own_rows(first)
