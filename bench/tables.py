"""Our rows beside the published ones: `python -m bench.tables DATA_FOLDER...` writes docs/benchmarks/<data set>.md.

Every variant of bench/recipes.py is fitted and measured on the validation split; of each family the best goes on, the blends'
weights are learned there, and only then is the test split read, once. Seeds are fixed. One process, one thread unless
OMP_NUM_THREADS says otherwise: fit times are CPU seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.recipes import RECIPES, Recipe, Variant
from core.progress import Reporter, Silent, Terminal
from models.blend import Blend, BlendConfig, fit_members
from models.blend_weights import Learned
from models.evaluation import Row, evaluate
from models.metrics import parse
from models.protocols import Protocol, Split, read_protocol, split_folder
from models.recommender import Recommender

SEED = 0


@dataclass
class Fitted:
    """A variant fitted on a split's training part, and what that cost."""

    variant: Variant
    model: Recommender
    cpu_s: float


@dataclass(eq=False)
class Line:
    """One row of the table."""

    name: str
    text: bool
    validation: Row
    test: Row
    cpu_s: float
    note: str = ""


def item_texts(folder: Path) -> dict[str, str]:
    """What items.csv.gz says of each item, by id; empty without that file."""
    path = folder / "items.csv.gz"
    if not path.is_file():
        return {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = ("title", "categories", "brand", "description")
    return {row["item"]: " ".join((row.get(name) or "").replace("|", " ") for name in kept) for row in rows}


def sample(split: Split, cases: int) -> Split:
    """At most so many of the cases, drawn with the seed; what is trained on stays whole."""
    if len(split) <= cases:
        return split
    kept = np.sort(np.random.default_rng(SEED).choice(len(split), cases, replace=False))
    low, size = split.target_indptr[kept], np.diff(split.target_indptr)[kept]
    indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    at = np.arange(indptr[-1]) + np.repeat(low - indptr[:-1], size)
    return replace(
        split, user_ix=split.user_ix[kept], start=split.start[kept], end=split.end[kept], now_s=split.now_s[kept],
        target_indptr=indptr, target_ix=split.target_ix[at],
    )  # fmt: skip


def fit(variant: Variant, split: Split, texts: Mapping[str, str], reporter: Reporter) -> Fitted:
    """Fit one variant, timed in CPU seconds."""
    began = time.process_time()
    (model,) = fit_members([variant.member], split.train, SEED, reporter, texts)
    return Fitted(variant, model, time.process_time() - began)


def bench(folder: Path, recipe: Recipe, reporter: Reporter) -> str:
    """Run a recipe on a data folder: the markdown of its table."""
    protocol, began = read_protocol(folder), time.process_time()
    ranked_by = protocol.metrics[-1]
    texts = item_texts(folder)
    validation = sample(split_folder(folder, "validation"), recipe.cases)
    tried: list[tuple[Fitted, Row]] = []
    for variant in recipe.variants:
        fitted = fit(variant, validation, texts, reporter)
        row = evaluate({variant.label: fitted.model}, validation, protocol.metrics, SEED, reporter)[0]
        tried.append((fitted, row))
        say(f"validation {variant.label}: {figures(row)}, fitted in {fitted.cpu_s:.1f} CPU s")
    chosen = best_of_each(tried, ranked_by)
    blends = []
    for name, families in recipe.blends.items():
        taken = [pair for pair in chosen if pair[0].variant.family in families]
        blends.append((name, *mixed(taken, validation, protocol, recipe, reporter)))
        say(f"validation {name}: {figures(blends[-1][3])}, weights {blends[-1][2].weights}")
    test = split_folder(folder, "test")
    again = {id(old): refit(old, validation, test, texts, reporter) for old, _ in chosen}
    singles = [line_of(again[id(old)], row, test, protocol, reporter) for old, row in chosen]
    lines = list(singles)
    for name, parts, learned, row in blends:
        members = [again[id(old)] for old in parts]
        config = BlendConfig(tuple(old.variant.member for old in parts), learned.weights)
        whole = evaluate({name: Blend.of([m.model for m in members], config)}, test, protocol.metrics, SEED, reporter)[
            0
        ]
        weights = ", ".join(f"{m.variant.family} {w:.2f}" for m, w in zip(members, learned.weights, strict=True) if w)
        lines.append(
            Line(name, any(m.variant.text for m in members), row, whole, sum(m.cpu_s for m in members), weights)
        )
    return page(folder.name, protocol, validation, test, lines, [row for _, row in tried], began, recipe)


def best_of_each(tried: Sequence[tuple[Fitted, Row]], metric: str) -> list[tuple[Fitted, Row]]:
    """The variant of each family that is best on validation, in the order of the recipe."""
    families = dict.fromkeys(fitted.variant.family for fitted, _ in tried)
    return [
        max((pair for pair in tried if pair[0].variant.family == family), key=lambda pair: pair[1].metrics[metric])
        for family in families
    ]


def mixed(
    taken: Sequence[tuple[Fitted, Row]], split: Split, protocol: Protocol, recipe: Recipe, reporter: Reporter
) -> tuple[list[Fitted], Learned, Row]:
    """Learn a blend's weights on the validation split, and measure it there (on what it was learned from)."""
    members = [fitted for fitted, _ in taken]
    config = BlendConfig(
        tuple(m.variant.member for m in members), cutoff=parse(protocol.metrics[-1])[1], cases=recipe.cases
    )
    models = [m.model for m in members]
    learned = Blend.of(models, config).learned(split, SEED, reporter)
    blend = Blend.of(models, replace(config, weights=learned.weights))
    return members, learned, evaluate({"blend": blend}, split, protocol.metrics, SEED, reporter)[0]


def refit(old: Fitted, validation: Split, test: Split, texts: Mapping[str, str], reporter: Reporter) -> Fitted:
    """The same variant on the test split's training part, which may be the same one."""
    if len(test.train) == len(validation.train):  # leave-last-out trains on neither target
        return old
    return fit(old.variant, test, texts, reporter)


def line_of(fitted: Fitted, validation: Row, test: Split, protocol: Protocol, reporter: Reporter) -> Line:
    """A single model on the test."""
    name = fitted.variant.family
    row = evaluate({name: fitted.model}, test, protocol.metrics, SEED, reporter)[0]
    return Line(name, fitted.variant.text, validation, row, fitted.cpu_s, fitted.variant.label)


def page(
    name: str,
    protocol: Protocol,
    validation: Split,
    test: Split,
    lines: Sequence[Line],
    tried: Sequence[Row],
    began: float,
    recipe: Recipe,
) -> str:
    """The markdown of one data set."""
    names = protocol.metrics
    first = lines[0].test
    about = (
        f"{protocol.split} split; validation {len(validation):,} cases, test {first.cases:,} cases with {first.targets:,} "
        f"targets; cold items {first.cold_item_share:.1%} of test targets (always a miss for a model without text), cold users "
        f"{first.cold_user_share:.1%} of cases; what a user has is {'' if protocol.mask_seen else 'not '}masked; full "
        "ranking, ties against the model; intervals by bootstrap over users."
    )
    text = [
        f"# {name}",
        "",
        about,
        "",
        *("| " + " | ".join(row) + " |" for row in cells(protocol, lines)),
        "",
        *compared(lines, names),
    ]
    text += ["", "## What stands behind the rows", "", *(f"- {line.name}: {line.note}" for line in lines)]
    text += [
        "",
        "## Tried on validation",
        "",
        "| variant | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    text += [f"| {row.model} | " + " | ".join(f"{row.metrics[m]:.4f}" for m in names) + " |" for row in tried]
    if recipe.remarks:
        text += ["", recipe.remarks]
    text += [
        "",
        f"Made by `python -m bench.tables`, seed {SEED}, in {time.process_time() - began:,.0f} CPU seconds on "
        f"{platform.machine()} ({os.environ.get('OMP_NUM_THREADS', 'all')} thread), Python {platform.python_version()}.",
    ]
    return "\n".join(text) + "\n"


def cells(protocol: Protocol, lines: Sequence[Line]) -> list[list[str]]:
    """The main table: our rows, then the published ones."""
    chosen = [picked(lines, text, protocol.metrics[-1]) for text in (False, True)]
    names = protocol.metrics
    head = [
        "model", "item text", *[f"validation {m}" for m in names],
        *[part for m in names for part in (f"**test {m}**", "95%")], "hits", "fit CPU s", "ms/case", "peak MB",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for line in lines:
        test_figures = [
            part for m in names
            for part in (f"**{line.test.metrics[m]:.4f}**", "{:.4f}-{:.4f}".format(*line.test.intervals[m]))
        ]  # fmt: skip
        rows.append([
            line.name + (" (picked)" if line in chosen else ""), "yes" if line.text else "no",
            *[f"{line.validation.metrics[m]:.4f}" for m in names], *test_figures, f"{line.test.hits:,}",
            f"{line.cpu_s:.1f}", f"{line.test.score_ms:.2f}", f"{line.test.peak_bytes / 1e6:,.0f}",
        ])  # fmt: skip
    for entry in protocol.published:
        known = [part for m in names for part in (f"{entry[m]:.4f}" if m in entry else "", "")]
        rows.append([f"{entry['method']} (published)", *[""] * (1 + len(names)), *known, *[""] * 4])
    return rows


def picked(lines: Sequence[Line], text: bool, metric: str) -> Line:
    """The single model that validation picks, among those that use no text or, with `text`, among all."""
    singles = [line for line in lines if not is_blend(line) and (text or not line.text)]
    return max(singles, key=lambda line: line.validation.metrics[metric])


def is_blend(line: Line) -> bool:
    """Whether a row is a blend."""
    return line.name.startswith("blend")


def compared(lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    """Each blend against the single model that validation picks (of ids, for a blend of ids), the others against popularity."""
    said = []
    base = next(line for line in lines if line.name == "popularity")
    for line in lines:
        other = picked(lines, line.text, names[-1]) if is_blend(line) else base
        if line is other:
            continue
        for metric in names if is_blend(line) else names[-1:]:
            c = line.test.against(other.test, metric, SEED)
            relative = c.difference / max(other.test.metrics[metric], 1e-12)
            said.append(
                f"- {line.name} against {other.name}, {metric}: {c.difference:+.4f} ({relative:+.1%}; "
                f"95% interval {c.low:+.4f} to {c.high:+.4f}, ahead in {c.share:.0%} of resamples)"
            )
    return said


def figures(row: Row) -> str:
    """ "hr@10 0.1234, ndcg@10 0.0567"."""
    return ", ".join(f"{name} {value:.4f}" for name, value in row.metrics.items())


def say(text: str) -> None:
    """A line of the run's log."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path, help="data folders with a protocol.toml")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="where the tables go")
    parser.add_argument("--progress", action="store_true", help="show progress of each step")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    reporter: Any = Terminal() if given.progress else Silent()
    for folder in given.folders:
        if folder.name not in RECIPES:
            parser.error(f"there is no recipe for {folder.name}; known are {', '.join(RECIPES)}")
        text = bench(folder, RECIPES[folder.name], reporter)
        (given.out / f"{folder.name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
