"""The blend: a weighted sum of several models' standardised scores. It is what serves by default.

The weights maximise ndcg on a validation split of what may be learned from, never on anything later; they count only if they
beat the best single member on users they were not learned from (cross-fitted), and the members are then fitted on all of it.
Linear stacking of rankers, as in Sill et al. 2009 ("Feature-weighted linear stacking"), fitted by coordinate ascent (Metzler
and Croft 2007, "Linear feature-based models for information retrieval").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import ArtifactCorrupt, ConfigurationError, InvalidRequest
from core.progress import Reporter, Silent
from features.interactions import IdTable, Interactions, union_of
from models.blend_rest import standardised
from models.blend_terms import Asked
from models.blend_weights import Learned, learn_weights
from models.item_text import Texts, fit_with_texts
from models.protocols import Split, held_out_share, leave_last_out, time_split
from models.recommender import (
    Mask,
    Ranked,
    Recommender,
    UserBatch,
    check_shape,
    knowing,
    load_model,
    ragged_top_k,
    save_model,
    strongest_terms,
    top_k,
)

if TYPE_CHECKING:
    from models.blend_search import Search

Validation = Literal["time", "leave-last-out", "held-out"]


@dataclass(frozen=True)
class Member:
    """A model of the blend: its name, and what its configuration says other than the default."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BlendConfig:
    """Who takes part, how weights are found, and, once found or given, the weights."""

    members: tuple[Member, ...] = (
        Member("transitions"),
        Member("linear", {"objective": "next", "regularization": 10.0, "train_recency": 0.8}),
        Member("repeat"),
        Member("popularity", {"ranking": "trending"}),
    )
    weights: tuple[float, ...] = ()  # one a member; empty: learned
    validation: Validation = "time"  # how weights are learned: on the newest tenth, each one's last, or a random fifth
    mask_seen: bool = True  # what a user already has is no answer, while they are learned
    cutoff: int = 10  # of the ndcg that is maximised
    cases: int = 20_000  # at most so many are learned from


@dataclass(frozen=True)
class Blend:
    """`models`, one a member, and `weights` (members,) float32. Its items are those of any of them.

    `trained` (n_items,) bool: not those added by `with_items`, which are standardised only where they are spoken of; None: all.
    `saved_ids` are the items that a loaded one was saved with, in its own members.
    """

    name: ClassVar[str] = "blend"
    config_type: ClassVar[type[BlendConfig]] = BlendConfig
    reads_texts: ClassVar[bool] = True

    config: BlendConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    models: tuple[Recommender, ...]
    weights: NDArray[np.float32]
    trained: Mask | None = None
    saved_ids: NDArray[np.object_] | None = None

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: BlendConfig | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
        texts: Texts | None = None,
    ) -> Self:
        """Learn the weights where they are not given, then fit the members on all of `data`.

        Weights are equal where the data is too small to be split. Raises ConfigurationError for a member that does not exist
        or weights that do not match.
        """
        config, shown = config or BlendConfig(), reporter or Silent()
        weights = config.weights
        if not weights:
            split = validation_split(data, config)
            weights = (1.0,) * len(config.members)
            if split is not None:
                partial = fit_members(config.members, split.train, seed, shown, texts)
                mixed = cls.of(partial, config)
                weights = mixed.learned(split, seed, shown).weights
        models = fit_members(config.members, data, seed, shown, texts)
        return cls.of(models, replace(config, weights=weights))

    @classmethod
    def of(cls, models: Sequence[Recommender], config: BlendConfig) -> Self:
        """Blend fitted models; without weights in `config` they count alike."""
        weights = np.array(config.weights or (1.0,) * len(models), np.float32)
        if len(weights) != len(models) or not models:
            raise ConfigurationError(f"a blend of {len(models)} members has {len(weights)} weights; give one each")
        ids = union_of([model.item_ids for model in models])
        return cls(config, ids, max(model.trained_until_s for model in models), tuple(models), weights)

    def learned(self, split: Split, seed: int = 0, reporter: Reporter | None = None) -> Learned:
        """The weights that suit the models best on `split`, which none of them may have been fitted on."""
        config, whole = self.config, self.with_items(split.record.item_ids)
        return learn_weights(
            whole.parts, whole.item_ids, split, config.cutoff, config.cases, seed, reporter or Silent()
        )

    def with_items(self, item_ids: NDArray[np.object_]) -> Self:
        """The members that can name items not trained on may: see models.recommender.OpenRecommender."""
        models = [knowing(model, item_ids) for model in self.models]
        grown = self.of(models, replace(self.config, weights=tuple(self.weights.tolist())))
        return replace(grown, config=self.config, trained=IdTable(self.item_ids).rows(grown.item_ids) >= 0)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf for what no member with a weight speaks for."""
        total = np.zeros((len(users), len(self.item_ids)), np.float32)
        spoken = np.zeros(total.shape, dtype=bool)
        for at in np.flatnonzero(self.weights):
            scores = self._asked[at].scores(users)
            spoken |= scores > -np.inf
            total += self.weights[at] * standardised(scores, self.trained)
        total[~spoken] = -np.inf
        return total

    def parts(self, users: UserBatch) -> list[NDArray[np.float32]]:
        """What is summed in `scores`, before the weights: (B, n_items) float32 of each member."""
        return [standardised(self._asked[at].scores(users), self.trained) for at in range(len(self.models))]

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        if len(users) == 1 and k > 0:
            return self.best(
                users, k, np.ones(len(self._all), bool) if exclude is None else ~exclude.reshape(-1), self._all
            )
        return top_k(self.scores(users), k, exclude)

    def best(self, users: UserBatch, k: int, allowed: Mask, rows: NDArray[np.int32]) -> Ranked:
        """As `recommend`, for a batch of one: of the items for which `allowed` (N,) is true in their `rows` (n_items,) int32."""
        found = None if self._search is None else self._search.best(users, k, allowed, rows)
        return top_k(self.scores(users), k, ~allowed[rows]) if found is None else found

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """What the members find similar, each scaled by its best, weighted and summed."""
        rows, columns, scores = [], [], []
        for at in np.flatnonzero(self.weights):
            own, back = self._rows[at]
            known = np.flatnonzero(own[item_ix] >= 0)
            allowed = exclude if exclude is None or exclude.ndim == 1 else exclude[known]
            there = None if allowed is None else allowed[..., back]
            found, score = self.models[at].similar(own[item_ix[known]], 2 * k, there)
            row, place = np.nonzero(found >= 0)
            best = np.maximum(score[row, 0], 1e-12)
            rows.append(known[row])
            columns.append(back[found[row, place]])
            scores.append(self.weights[at] * score[row, place] / best)
        shape = (len(item_ix), len(self.item_ids))
        return _summed(np.concatenate(rows), np.concatenate(columns), np.concatenate(scores), shape, k)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """What the members name, the first of each counting most, by their weights."""
        if len(users) == 1 and self._search is not None:
            return self._search.because(users, item_ix[0], limit)[None]
        batch, k = item_ix.shape
        slots, items, terms = [], [], []
        for at in np.flatnonzero(self.weights):
            named = self._asked[at].because(users, item_ix, limit).reshape(batch * k, limit)
            slot, place = np.nonzero(named >= 0)
            slots.append(slot)
            items.append(named[slot, place])
            terms.append(self.weights[at] / (1 + place))
        shape = (batch * k, len(self.item_ids))
        found = strongest_terms(
            np.concatenate(slots), np.concatenate(items), np.concatenate(terms).astype(np.float32), shape, limit
        )
        return found.reshape(batch, k, limit)

    def save(self, folder: Path) -> None:
        """Besides the blend's own files, each member has a folder, numbered in order."""
        save_model(folder, self, {"weights": self.weights})
        for at, model in enumerate(self.models):
            model.save(folder / f"member-{at}")

    @classmethod
    def load(cls, folder: Path, live: Mapping[str, Recommender] = MappingProxyType({})) -> Self:
        """See models.recommender.Recommender. In place of members of its own it asks those of the same name and configuration
        in `live`, which are loaded already and may know other items."""
        saved = load_model(folder, cls.name, ("weights",))
        config = saved.config_as(BlendConfig)
        check_shape(folder, saved.arrays["weights"], len(config.members))
        kinds = member_kinds()
        if unknown := [member.name for member in config.members if member.name not in kinds]:
            raise ArtifactCorrupt(f"{folder}: no model is named {unknown[0]!r}; train and publish the model again")
        models: list[Recommender] = []
        for at, member in enumerate(config.members):
            other = live.get(member.name)
            if other is None or other.config != member_config(member):
                other = kinds[member.name].load(folder / f"member-{at}")
            models.append(other)
        found = cls.of(models, config)
        borrowed = any(model is live.get(model.name) for model in models)
        if not borrowed and not np.array_equal(found.item_ids, saved.item_ids):
            raise ArtifactCorrupt(f"{folder}: the members have other items than the blend; train and publish it again")
        return replace(found, saved_ids=saved.item_ids)

    @cached_property
    def _all(self) -> NDArray[np.int32]:
        """Its own rows."""
        return np.arange(len(self.item_ids), dtype=np.int32)

    @cached_property
    def _rows(self) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """For each member: its row of each item of the blend, -1 for none, and the blend's row of each item of its own."""
        tables = {id(m.item_ids): IdTable(m.item_ids) for m in self.models}
        rows = {}
        for one, table in tables.items():
            own, back = table.rows(self.item_ids), np.empty(len(table), np.int32)
            known = np.flatnonzero(own >= 0)
            back[own[known]] = known  # all of its items are the blend's, too
            rows[one] = own, back
        return [rows[id(m.item_ids)] for m in self.models]

    @cached_property
    def _asked(self) -> list[Asked]:
        """Each member, in the rows of the blend."""
        weighed = zip(self.models, self.weights.tolist(), self._rows, strict=True)
        return [Asked(model, weight, own, back) for model, weight, (own, back) in weighed]

    @cached_property
    def _search(self) -> Search | None:
        """The quick way for one user."""
        from models.blend_search import Search  # compiled: who asks for no user does without

        return Search.of([one for one in self._asked if one.weight], self.trained)


def member_kinds() -> dict[str, type[Recommender]]:
    """Every registered model but the blend itself, by name."""
    from models import RECOMMENDERS  # here, for the registry holds the blend too

    return {name: kind for name, kind in RECOMMENDERS.items() if kind is not Blend}


def member_config(member: Member) -> Any:
    """A member's whole configuration. Raises ConfigurationError where it does not exist, or is set up wrongly."""
    kinds = member_kinds()
    if member.name not in kinds:
        raise ConfigurationError(f"a blend has no member {member.name!r}; choose from {', '.join(kinds)}")
    try:
        found = msgspec.convert(member.config, kinds[member.name].config_type)
        return replace(found)  # msgspec leaves defaults to the class, where `to_builtins` does not see them
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"member {member.name}: {error}") from error


def fit_members(
    members: Sequence[Member], data: Interactions, seed: int, reporter: Reporter, texts: Texts | None = None
) -> list[Recommender]:
    """Fit each member. Raises ConfigurationError for one that does not exist or whose configuration is not its own."""
    configs = [member_config(member) for member in members]
    kinds = member_kinds()
    return [
        fit_with_texts(kinds[member.name], data, config, seed, reporter, texts)
        for member, config in zip(members, configs, strict=True)
    ]


def validation_split(data: Interactions, config: BlendConfig) -> Split | None:
    """What weights are learned on; None when the data is too small for it."""
    try:
        if config.validation == "time":
            return time_split(data, mask_seen=config.mask_seen)
        cut = leave_last_out if config.validation == "leave-last-out" else held_out_share
        return cut(data, mask_seen=config.mask_seen)
    except InvalidRequest:
        return None


def _summed(
    row: NDArray[np.int64], column: NDArray[np.int32], score: NDArray[np.float32], shape: tuple[int, int], k: int
) -> Ranked:
    """The k best of each row, triples of the same place added up."""
    place, which = np.unique(row * shape[1] + column, return_inverse=True)
    total = np.bincount(which, score, len(place)).astype(np.float32)
    return ragged_top_k(place // shape[1], (place % shape[1]).astype(np.int32), total, shape[0], k)
