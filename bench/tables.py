"""Our rows beside the published ones: `python -m bench.tables DATA_FOLDER...` writes docs/benchmarks/<data set>.md.

Every variant of bench/recipes.py is fitted and measured on the validation split; of each family the best goes on, the blends'
weights are learned there, and only then is the test split read, once. Seeds are fixed. One process, one thread unless
OMP_NUM_THREADS says otherwise: fit times are CPU seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.pages import SEED, Line, figures, page, tried_table
from bench.recipes import RECIPES, Recipe, Variant
from core.progress import Reporter, Silent, Terminal
from models.blend import Blend, BlendConfig, fit_members, member_kinds
from models.blend_weights import Learned
from models.evaluation import Row, evaluate
from models.item_features import ItemFeatures
from models.metrics import parse
from models.protocols import Protocol, Split, Stage, read_protocol, split_folder
from models.recommender import Recommender


@dataclass(eq=False)
class Fitted:
    """A variant fitted on a split's training part, and what that cost."""

    variant: Variant
    model: Recommender
    cpu_s: float


@dataclass(frozen=True)
class Ground:
    """A split, what may be known of its items, and how models are measured on it."""

    split: Split
    features: ItemFeatures
    metrics: tuple[str, ...]
    reporter: Reporter
    kept: Path | None = None  # where fitted models are kept between runs, by variant

    def fit(self, variant: Variant) -> Fitted:
        """Fit one variant, timed in CPU seconds; or load it, with the time it took, where it is kept."""
        folder = None if self.kept is None else self.kept / hashlib.sha256(variant.label.encode()).hexdigest()[:16]
        if folder is not None and (folder / "cpu_s").is_file():
            return Fitted(
                variant, member_kinds()[variant.member.name].load(folder), float((folder / "cpu_s").read_text())
            )
        began = time.process_time()
        texts = self.features.texts if variant.text else None
        (model,) = fit_members([variant.member], self.split.train, SEED, self.reporter, texts)
        cpu_s = time.process_time() - began
        if folder is not None:
            model.save(folder)
            (folder / "cpu_s").write_text(str(cpu_s))
        return Fitted(variant, model, cpu_s)

    def measure(self, name: str, model: Recommender) -> Row:
        """The row of a fitted model."""
        return evaluate({name: model}, self.split, self.metrics, SEED, self.reporter, self.features)[0]


@dataclass(frozen=True)
class Mixture:
    """A blend on the validation split: its members there, and its weights."""

    name: str
    members: tuple[Fitted, ...]
    learned: Learned


def ground_of(
    folder: Path, protocol: Protocol, stage: Stage, reporter: Reporter, kept: Path | None, popularity: float = 0.0
) -> Ground:
    """The ground of a stage; its models are kept under `kept`, if anywhere. `popularity`: as the recipe has it."""
    split = split_folder(folder, stage, popularity)
    features = ItemFeatures.from_folder(folder).as_of(split.cut_s)
    return Ground(split, features, protocol.metrics, reporter, kept and kept / f"{folder.name}-{stage}")


def bench(folder: Path, recipe: Recipe, reporter: Reporter, read_test: bool = True, kept: Path | None = None) -> str:
    """Run a recipe on a data folder: the markdown of its page, or of what validation says where the test is not read."""
    protocol, began = read_protocol(folder), time.process_time()
    validation = ground_of(folder, protocol, "validation", reporter, kept, recipe.popularity)
    validation = replace(validation, split=validation.split.sample(recipe.cases, SEED))
    tried: list[tuple[Fitted, Row]] = []
    for variant in recipe.variants:
        fitted = validation.fit(variant)
        tried.append((fitted, validation.measure(variant.label, fitted.model)))
        say(f"validation {variant.label}: {figures(tried[-1][1])}, fitted in {fitted.cpu_s:.1f} CPU s")
    chosen = best_of_each(tried, protocol.metrics[-1])
    mixtures = []
    for name, families in recipe.blends.items():
        mixtures.append(mixed(name, [one for one, _ in chosen if one.variant.family in families], validation, recipe))
        say(f"validation {name}: {shares(mixtures[-1])}")
    rows = [row for _, row in tried]
    if not read_test:
        weighed = [f"- {mixture.name}: {shares(mixture)}" for mixture in mixtures]
        return "\n".join([*tried_table(rows, protocol.metrics), "", *weighed])
    test = ground_of(folder, protocol, "test", reporter, kept)
    again = {id(old): refit(old, validation, test) for old, _ in chosen}
    lines = []
    for old, row in chosen:
        new, family = again[id(old)], old.variant.family
        lines.append(Line(family, old.variant.text, row, test.measure(family, new.model), new.cpu_s, old.variant.label))
        say(f"test {family}: {figures(lines[-1].test)}")
    for mixture in mixtures:
        members = [again[id(old)] for old in mixture.members]
        config = BlendConfig(tuple(old.variant.member for old in mixture.members), mixture.learned.weights)
        whole = test.measure(mixture.name, Blend.of([m.model for m in members], config))
        used = [m for m, w in zip(members, mixture.learned.weights, strict=True) if w]
        text = any(m.variant.text for m in used)
        lines.append(Line(mixture.name, text, None, whole, sum(m.cpu_s for m in used), shares(mixture)))
        say(f"test {mixture.name}: {figures(whole)}")
    return page(folder.name, protocol, validation.split, lines, rows, began, recipe)


def best_of_each(tried: Sequence[tuple[Fitted, Row]], metric: str) -> list[tuple[Fitted, Row]]:
    """The variant of each family that is best on validation, in the order of the recipe."""
    families = dict.fromkeys(fitted.variant.family for fitted, _ in tried)
    return [
        max((pair for pair in tried if pair[0].variant.family == family), key=lambda pair: pair[1].metrics[metric])
        for family in families
    ]


def mixed(name: str, members: Sequence[Fitted], ground: Ground, recipe: Recipe) -> Mixture:
    """Learn a blend's weights on the validation split."""
    config = BlendConfig(
        tuple(m.variant.member for m in members), cutoff=parse(ground.metrics[-1])[1], cases=recipe.cases
    )
    blend = Blend.of([m.model for m in members], config)
    return Mixture(name, tuple(members), blend.learned(ground.split, SEED, ground.reporter))


def shares(mixture: Mixture) -> str:
    """The weights in words, and what they bring on users they were not learned from."""
    weighed = zip(mixture.members, mixture.learned.weights, strict=True)
    gain, best = mixture.learned.gain, mixture.members[mixture.learned.best].variant.family
    return (
        ", ".join(f"{member.variant.family} {weight:.2f}" for member, weight in weighed if weight)
        + f"; on validation users they were not learned from {gain.difference:+.4f} against {best} "
        + f"(95% interval {gain.low:+.4f} to {gain.high:+.4f})"
    )


def refit(old: Fitted, validation: Ground, test: Ground) -> Fitted:
    """The same variant on the test split's training part, which may be the same one."""
    if len(test.split.train) == len(validation.split.train):  # leave-last-out trains on neither target
        return old
    return test.fit(old.variant)


def say(text: str) -> None:
    """A line of the run's log."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path, help="data folders with a protocol.toml")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="where the tables go")
    parser.add_argument(
        "--keep", type=Path, help="keep fitted models here, so that a run cut short goes on; empty it after a change"
    )
    parser.add_argument("--validation", action="store_true", help="choose only: neither read the test nor write a page")
    parser.add_argument("--progress", action="store_true", help="show progress of each step")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    reporter: Any = Terminal() if given.progress else Silent()
    for folder in given.folders:
        if folder.name not in RECIPES:
            parser.error(f"there is no recipe for {folder.name}; known are {', '.join(RECIPES)}")
        text = bench(folder, RECIPES[folder.name], reporter, not given.validation, given.keep)
        if not given.validation:
            (given.out / f"{folder.name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
