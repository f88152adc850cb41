"""The sequence recommender alone and blended: `python -m bench.sequence FOLDER` writes docs/benchmarks/sequence-<data>.md.

It is trained as RECIPES says and watched on the validation split; its partners are fitted and the blend's weights learned
there too, and only then is the test split read, once. A run that is stopped goes on from its last checkpoint when it is
started again. On several GPUs: `torchrun --nproc-per-node N -m bench.sequence FOLDER --scale gpu`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence as Listed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.progress import Reporter, Silent, Terminal
from models.blend import Blend, BlendConfig, Member, fit_members
from models.evaluation import Row, evaluate
from models.item_features import ItemFeatures
from models.protocols import Protocol, Split, read_protocol, split_folder
from models.recommender import Recommender
from models.sequence import Sequence, SequenceConfig

SEED = 0
FILMS = {
    "window": 10, "distance_power": 1.0, "reverse_share": 0.0, "from_power": 0.5, "to_power": 0.3, "recency": 0.75,
}  # fmt: skip
BASKETS = {
    "window": 20, "distance_power": 0.6, "reverse_share": 0.5, "from_power": 0.5, "to_power": 0.2, "recency": 0.65,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How the model is configured on one core and on GPUs, and with whom it is blended."""

    cpu: SequenceConfig
    gpu: SequenceConfig
    text: bool
    partners: tuple[Member, ...]
    seed: int = SEED
    others: tuple[
        tuple[int, SequenceConfig], ...
    ] = ()  # on one core, the seeds of further sequence models of the blend
    remarks: str = ""


# On a GPU, what the literature trains: a full softmax at 2 to 4 times the width. These figures were not measured yet.
_GPU = {"dimensions": 128, "heads": 4, "length": 200, "negatives": 0, "batch_tokens": 16_384, "epochs": 100}
_ML = SequenceConfig(time_buckets=0, negatives=512, ahead=3)
_ML_WIDE = replace(_ML, dimensions=128, heads=4, length=200, dropout=0.2, epochs=12, learning_rate=1.5e-3)
_ML_PARTNERS = (
    Member("transitions", FILMS),
    Member("linear", {"objective": "next", "regularization": 100.0, "train_recency": 0.8, "recency": 0.8}),
)
_BEAUTY = SequenceConfig(time_buckets=0, length=50, epochs=30, batch_tokens=1600, dropout=0.3, negatives=512, ahead=3)
_BEAUTY_WIDE = replace(_BEAUTY, dimensions=256, heads=4, epochs=15, dropout=0.5, learning_rate=1e-3, negatives=2048)
_BEAUTY_PARTNERS = (
    Member("transitions", BASKETS),
    Member(
        "linear",
        {
            "objective": "next",
            "regularization": 20.0,
            "train_recency": 0.7,
            "recency": 0.7,
            "dense_items": 0,
            "support": 200,
        },
    ),
)
_BEAUTY_TEXT = (
    *_BEAUTY_PARTNERS,
    Member("content", {"recency": 0.7, "popularity": 0.0}),
    Member(
        "content",
        {"recency": 0.65, "through_transitions": True, "alike": 50, "popularity": 0.0, "transitions": BASKETS},
    ),
)

RECIPES = {
    "ml-1m-seq": Recipe(
        _ML_WIDE, replace(_ML, **_GPU, dropout=0.2), False, _ML_PARTNERS, 1, ((0, replace(_ML, epochs=32)),)
    ),
    "beauty-seq": Recipe(
        _BEAUTY_WIDE, replace(_BEAUTY, **_GPU, dropout=0.4), False, _BEAUTY_PARTNERS, 1, ((0, _BEAUTY),)
    ),
    "beauty-seq-text": Recipe(_BEAUTY_WIDE, replace(_BEAUTY, **_GPU, dropout=0.4), True, _BEAUTY_TEXT),
}


@dataclass
class Curve:
    """What validation says after every few epochs, kept in a file beside the checkpoints so that a stopped run loses none."""

    path: Path
    split: Split
    metrics: tuple[str, ...]
    features: ItemFeatures
    every: int
    epochs: int

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.began_s = time.process_time()

    def watch(self, epochs: int, model: Sequence) -> None:
        """Note the CPU seconds since the last note and, every so often, the figures."""
        began_s = time.process_time()
        line: dict[str, Any] = {"epoch": epochs, "cpu_s": began_s - self.began_s}
        if epochs % self.every == 0 and epochs < self.epochs:
            row = evaluate({"sequence": model}, self.split, self.metrics, SEED, None, self.features)[0]
            line |= row.metrics
        with self.path.open("a", encoding="utf-8") as file:
            print(json.dumps(line), file=file)
        print(json.dumps(line), file=sys.stderr, flush=True)
        self.began_s = time.process_time()

    def lines(self) -> list[dict[str, Any]]:
        """One an epoch; the parts of one that was interrupted are added up."""
        every: dict[int, dict[str, Any]] = {}
        for noted in map(json.loads, self.path.read_text(encoding="utf-8").splitlines()):
            spent = every.get(noted["epoch"], {}).get("cpu_s", 0.0)
            every[noted["epoch"]] = noted | {"cpu_s": spent + noted["cpu_s"]}
        return [every[epoch] for epoch in sorted(every)]


def bench(name: str, folder: Path, recipe: Recipe, config: SequenceConfig, given: argparse.Namespace) -> str:
    """Train, blend, then read the test: the markdown of the page."""
    protocol, reporter = read_protocol(folder), Terminal() if given.progress else Silent()
    features = ItemFeatures.from_folder(folder) if recipe.text else ItemFeatures()
    texts = features.texts or None
    validation = split_folder(folder, "validation")
    seeded = [(recipe.seed, config), *(recipe.others if given.scale == "cpu" else ())]
    curves: list[Curve] = []
    models: list[Recommender] = []
    for at, (seed, one) in enumerate(seeded):
        run = given.work / (f"{name}-{given.scale}" + (f"-{at + 1}" if at else ""))
        curves.append(Curve(run / "curve.jsonl", validation, protocol.metrics, features, given.every, one.epochs))
        checkpoints = run / "checkpoints"
        models.append(Sequence.fit(validation.train, one, seed, reporter, texts, checkpoints, curves[at].watch))
    if int(os.environ.get("RANK", "0")):
        return ""
    models += fit_members(recipe.partners, validation.train, SEED, reporter, texts)
    members = (*[Member("sequence")] * len(seeded), *recipe.partners)
    blends, notes = {}, {}
    for label, first in {"blend": 0, "the same without sequence": len(seeded)}.items():
        plain = BlendConfig(members[first:], cutoff=10, cases=len(validation))
        learned = Blend.of(models[first:], plain).learned(validation, SEED, reporter)
        blends[label] = Blend.of(models[first:], replace(plain, weights=learned.weights))
        notes[label] = ", ".join(f"{m.name} {w:.2f}" for m, w in zip(plain.members, learned.weights, strict=True))
    every: dict[str, Recommender] = {**dict(zip(unique([m.name for m in members]), models, strict=True)), **blends}
    rows = measured(every, validation, protocol, reporter, features)
    print({label: row.metrics for label, row in rows.items()}, notes, file=sys.stderr, flush=True)
    if given.validation_only:
        return ""
    test = split_folder(folder, "test")  # leave-last-out: what is learned from is the same
    found = measured(every, test, protocol, reporter, features)
    return page(name, protocol, recipe, list(zip(seeded, curves, strict=True)), rows, found, notes, given)


def unique(names: Listed[str]) -> list[str]:
    """The same with a number where a name comes again."""
    return [name if name not in names[:at] else f"{name} {names[:at].count(name) + 1}" for at, name in enumerate(names)]


def measured(
    models: dict[str, Recommender], split: Split, protocol: Protocol, reporter: Reporter, features: ItemFeatures
) -> dict[str, Row]:
    """Rows by name."""
    return {row.model: row for row in evaluate(models, split, protocol.metrics, SEED, reporter, features)}


def page(
    name: str, protocol: Protocol, recipe: Recipe, curves: Listed[tuple[tuple[int, SequenceConfig], Curve]],
    validation: dict[str, Row], test: dict[str, Row], notes: dict[str, str], given: argparse.Namespace,
) -> str:  # fmt: skip
    """The markdown of one run."""
    metrics = protocol.metrics
    head = [
        "model",
        *(f"validation {m}" for m in metrics),
        *(part for m in metrics for part in (f"**test {m}**", "95%")),
    ]
    cells = [head, ["---"] * len(head)]
    for label, row in test.items():
        figures = [f"{validation[label].metrics[m]:.4f}" for m in metrics]
        for m in metrics:
            low, high = row.intervals[m]
            figures += [f"**{row.metrics[m]:.4f}**", f"{low:.4f}-{high:.4f}"]
        cells.append([label, *figures])
    for entry in protocol.published:
        known = [part for m in metrics for part in (f"{entry[m]:.4f}" if m in entry else "", "")]
        cells.append([f"{entry['method']} (published)", *[""] * len(metrics), *known])
    learned = []
    for label, ((seed, config), curve) in zip(unique(["sequence"] * len(curves)), curves, strict=True):
        learned += history(f"{label}, seed {seed}", config, curve, metrics, validation[label])
    against = [
        f"- {label} against {other}, {m}: {c.difference:+.4f} (95% {c.low:+.4f} to {c.high:+.4f})"
        for label, other in (("blend", "sequence"), ("blend", "the same without sequence"))
        for m in metrics
        for c in [test[label].against(test[other], m, SEED)]
    ]
    return "\n".join([
        f"# The sequence recommender on {name}", "",
        f"{protocol.split} split, {test['sequence'].cases:,} users, item text {'used' if recipe.text else 'not used'}; full "
        "ranking, ties against the model, what a user has is masked. Chosen on validation; the test was read once. "
        f"Configuration of {given.scale}.", "",
        *table(cells), "", *against, "",
        *(f"- weights of {label}, learned on validation: {weights}" for label, weights in notes.items()), "",
        "## While it learned", "", *learned, *([recipe.remarks, ""] if recipe.remarks else []),
        f"Made by `python -m bench.sequence DATA/{name.removesuffix('-text')}{' --text' if recipe.text else ''}`.",
    ]) + "\n"  # fmt: skip


def history(label: str, config: SequenceConfig, curve: Curve, metrics: tuple[str, ...], end: Row) -> list[str]:
    """How one sequence model is configured, and its figures on validation while it learned."""
    points = [["epoch", "CPU s", *(f"validation {m}" for m in metrics)], ["---"] * (2 + len(metrics))]
    spent = 0.0
    for line in curve.lines():
        spent += line["cpu_s"]
        if metrics[0] in line:
            points.append([str(line["epoch"]), f"{spent:,.0f}", *(f"{line[m]:.4f}" for m in metrics)])
    points.append([str(config.epochs), f"{spent:,.0f}", *(f"{end.metrics[m]:.4f}" for m in metrics)])
    plain = SequenceConfig()
    said = ", ".join(f"{k} {v}" for k, v in vars(config).items() if v != getattr(plain, k)) or "all defaults"
    return [f"{label}: {said}; {spent:,.0f} CPU seconds of training.", "", *table(points), ""]


def table(rows: Listed[Listed[str]]) -> list[str]:
    """Rows of markdown."""
    return ["| " + " | ".join(row) + " |" for row in rows]


def main(argv: Listed[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a data folder with a protocol.toml")
    parser.add_argument("--text", action="store_true", help="let the model read item texts")
    parser.add_argument("--scale", choices=("cpu", "gpu"), default="cpu", help="which configuration of the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value of a setting")
    parser.add_argument("--every", type=int, default=2, help="epochs between two looks at validation")
    parser.add_argument(
        "--work", type=Path, default=Path(".headwater/bench"), help="where checkpoints and curves are kept"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="where the page goes")
    parser.add_argument("--validation-only", action="store_true", help="leave the test unread and write no page")
    parser.add_argument("--progress", action="store_true", help="show progress of each step")
    given = parser.parse_args(argv)
    name = given.folder.name + ("-text" if given.text else "")
    if name not in RECIPES:
        parser.error(f"there is no recipe for {name}; known are {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    config = recipe.cpu if given.scale == "cpu" else recipe.gpu
    config = replace(config, **{key: json.loads(value) for key, value in (one.split("=", 1) for one in given.set)})
    text = bench(name, given.folder, recipe, config, given)
    if text:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"sequence-{name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
