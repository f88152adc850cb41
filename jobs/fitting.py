"""Fitting within one run: what several need, the gate or a table and the blend, is fitted once for each part of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from core.progress import Reporter
from features.interactions import Interactions
from jobs.context import JobContext
from jobs.gate import BASELINE
from jobs.resume import keeps_checkpoints
from models import RECOMMENDERS
from models.blend import Blend, BlendConfig, Member, member_config, validation_split
from models.item_text import Texts, fit_with_texts
from models.protocols import Split
from models.recommender import Recommender

CELLS = 4_000_000_000  # scores, items times cases, that judging one model may take: more cases than that are sampled
FEWEST_CASES = 1_000


@dataclass
class Fitting:
    """Fits models of one run. `shared` names those that are asked for more than once: they stay in memory until its end.

    `read_texts` gives the text of every item there is; it is called once, and only where a model reads texts. Under
    `checkpoints` every fit of a model that keeps some has a folder of its own.
    """

    reporter: Reporter
    read_texts: Callable[[], Texts]
    seed: int = 0
    shared: Set[str] = frozenset()
    checkpoints: Path | None = None
    _kept: dict[tuple[str, str, int], tuple[Interactions, Recommender]] = field(default_factory=dict)

    def fit(self, name: str, config: Any, data: Interactions, *, texts_of_all: bool = False) -> Recommender:
        """The model fitted on `data`, which must stay alive as long as this does.

        Models that read texts are given those of the items of `data`, or of the whole catalogue: new items have nothing else.
        """
        key = (name, repr(config), id(data))
        if key in self._kept:
            return self._kept[key][1]
        if isinstance(config, BlendConfig):
            fitted: Recommender = self._blend(config, data, texts_of_all)
        else:
            texts = self._texts(config, data, texts_of_all)
            fitted = self._single(name, config, data, texts)
        if name in self.shared:
            self._kept[key] = (data, fitted)
        return fitted

    def _single(self, name: str, config: Any, data: Interactions, texts: Texts | None) -> Recommender:
        kind, reporter = RECOMMENDERS[name], self.reporter
        if self.checkpoints is None or not keeps_checkpoints(name):
            return fit_with_texts(kind, data, config, self.seed, reporter, texts)
        folder = self.checkpoints / name / f"{len(data)}-interactions"
        fit = cast(Any, kind).fit  # as models/sequence.py has it
        more = {"texts": texts} if getattr(kind, "reads_texts", False) else {}
        return cast(Recommender, fit(data, config, self.seed, reporter, checkpoints=folder, **more))

    def _blend(self, config: BlendConfig, data: Interactions, texts_of_all: bool) -> Blend:
        """Weights, where they are not given, from a validation split of `data`; then the members that have any on all of it."""
        if not config.weights:
            split = validation_split(data, config)
            if split is not None:
                partial = self._members(config, split.train, texts_of_all)
                learned = Blend.of(partial, config).learned(bounded(split), self.seed, self.reporter)
                config = _used(config, learned.weights)
        return Blend.of(self._members(config, data, texts_of_all), config)

    def _members(self, config: BlendConfig, data: Interactions, texts_of_all: bool) -> list[Recommender]:
        return [self.fit(one.name, member_config(one), data, texts_of_all=texts_of_all) for one in config.members]

    def _texts(self, config: Any, data: Interactions, of_all: bool) -> Texts | None:
        if not reads_texts(config):
            return None
        if of_all:
            return self._catalogue
        return {item: self._catalogue[item] for item in data.item_ids.tolist() if item in self._catalogue}

    @cached_property
    def _catalogue(self) -> Texts:
        return self.read_texts()


def catalogue_texts(context: JobContext) -> Texts:
    """The text of every item of the catalogue."""
    return {one.item: one.text for one in context.store.catalogue.changed_since(0) if not one.removed}


def config_of(name: str, context: JobContext) -> Any:
    """A model's own configuration: on the device of the settings where it can choose one, with the members of a blend."""
    config = RECOMMENDERS[name].config_type()
    if isinstance(config, BlendConfig):
        return standing_in_for(context.settings.models_to_train, config, context.settings.device)
    return replace(config, device=context.settings.device) if hasattr(config, "device") else config


def standing_in_for(names: Sequence[str], config: BlendConfig, device: str | None = None) -> BlendConfig:
    """The members of `config`, and every other model of `names`, on `device` where it can choose one."""
    known = {BASELINE, Blend.name, *(member.name for member in config.members)}
    on = {} if device is None else {"device": device}
    added = [
        Member(name, on if hasattr(RECOMMENDERS[name].config_type(), "device") else {})
        for name in names
        if name not in known and name in RECOMMENDERS
    ]
    return replace(config, members=(*config.members, *added))


def _used(config: BlendConfig, weights: tuple[float, ...]) -> BlendConfig:
    """The configuration without members that have no weight: they need not be fitted, stored or asked."""
    kept = [(member, weight) for member, weight in zip(config.members, weights, strict=True) if weight > 0]
    return replace(config, members=tuple(member for member, _ in kept), weights=tuple(weight for _, weight in kept))


def reads_texts(config: Any) -> bool:
    """Whether a model of this configuration makes use of texts: loading them is not free."""
    if isinstance(config, BlendConfig):
        return any(reads_texts(member_config(member)) for member in config.members)
    kind = next((one for one in RECOMMENDERS.values() if one.config_type is type(config)), None)
    return getattr(kind, "reads_texts", False) and getattr(config, "text_share", 1) > 0


def bounded(split: Split, seed: int = 0) -> Split:
    """`split` with a sample of its cases where ranking every item for each would take more than CELLS scores."""
    return split.sample(max(FEWEST_CASES, CELLS // max(1, split.record.n_items)), seed)
