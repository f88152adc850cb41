"""Training speed beside the library one would take instead: `python -m bench.train FOLDER` writes docs/benchmarks/training.md.

Both sides of a pair learn from the same data in the same process or, for a library that is not ours to depend on, in that of
`--peer-python`; both answer the same validation cases through their own interface, with ten items and without what the user
has. The test split is not read. Times are CPU seconds, fitting only. Set OMP_NUM_THREADS=1 to compare on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.interactions import IdTable, Interactions
from models.als import ALS, ALSConfig
from models.linear import Linear, LinearConfig
from models.protocols import leave_last_out
from models.recommender import Recommender, UserBatch
from models.sequence import Sequence as SequenceModel
from models.sequence import SequenceConfig
from models.transitions import Transitions

K, SEED = 10, 0
PASSES = (1, 2, 3, 5, 8, 12)
NEAR = 0.99  # of the final quality
PEER = "rectools[torch]==0.19.0"
PEER_SCRIPT = Path(__file__).parent / "peers" / "rectools_sasrec.py"


@dataclass(frozen=True)
class Cases:
    """What is asked: histories of users of training, and the row of what came next, -1 for an item never trained on."""

    users: UserBatch
    target: NDArray[np.int32]

    def ndcg(self, lists: NDArray[np.int64]) -> float:
        """ndcg@10 of lists (C, 10) of item rows."""
        hit = (lists == self.target[:, None]) & (self.target >= 0)[:, None]
        return float(np.sum(hit / np.log2(np.arange(K) + 2)) / len(hit))


@dataclass(frozen=True)
class Point:
    """After so many passes over the data: CPU seconds of training, and ndcg@10."""

    passes: int
    cpu_s: float
    quality: float


@dataclass(frozen=True)
class Curve:
    """How a model got there. `targets` are what it learns from in one pass; `note` says how it was configured."""

    name: str
    targets: int
    points: tuple[Point, ...]
    note: str = ""

    @property
    def last(self) -> Point:
        return self.points[-1]

    @property
    def rate(self) -> float:
        """Targets a CPU second, over the whole run."""
        return self.targets * self.last.passes / self.last.cpu_s

    def reached(self, quality: float) -> float | None:
        """CPU seconds until this quality, None if it never was."""
        return next((point.cpu_s for point in self.points if point.quality >= quality), None)


@dataclass(frozen=True)
class Pair:
    """Ours against the library's; `missing` says why there is no other side."""

    title: str
    ours: tuple[Curve, ...]
    theirs: tuple[Curve, ...] = ()
    missing: str = ""


def prepared(data: Interactions, users: int, cases: int) -> tuple[Interactions, Cases]:
    """What so many users, drawn with the seed, leave to learn from, without their last two; so many of them are asked."""
    rng = np.random.default_rng(SEED)
    if users < data.n_users:
        data = data.keep(np.isin(data.user_ix, rng.choice(data.n_users, users, replace=False)))
    split = leave_last_out(data, "validation").sample(cases, SEED)
    items = IdTable(split.train.item_ids).rows(split.record.item_ids)
    rows = IdTable(split.train.user_ids).rows(split.record.user_ids)
    return split.train, Cases(split.users(slice(None), items, rows), items[split.target_ix])


def ask(model: Recommender, cases: Cases) -> float:
    """The quality of one of our models."""
    lists = []
    for at in range(0, len(cases.users), 256):
        users = cases.users[at : at + 256]
        seen = np.zeros((len(users), len(model.item_ids)), bool)
        seen[users.owner, users.items] = True
        lists.append(model.recommend(users, K, seen)[0])
    return cases.ndcg(np.concatenate(lists))


def ask_implicit(model: Any, matrix: Any, cases: Cases) -> float:
    """The quality of one of implicit's, through its own interface."""
    lists, _ = model.recommend(cases.users.rows, matrix[cases.users.rows].tocsr(), N=K, filter_already_liked_items=True)
    return cases.ndcg(lists)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the CPU seconds it took."""
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


def als(data: Interactions, cases: Cases) -> Pair:
    """The same solver on both sides. With `frequency_power` 0 it does the same work, too."""
    matrix, config = data.matrix(), ALSConfig(factors=64, regularization=20.0)
    ours: dict[float, list[Point]] = {config.frequency_power: [], 0.0: []}
    theirs = []
    for passes in PASSES:
        for power, points in ours.items():
            wanted = replace(config, iterations=passes, frequency_power=power)
            model, cpu_s = timed(partial(ALS.fit, data, wanted, SEED))
            points.append(Point(passes, cpu_s, ask(model, cases)))
        library = AlternatingLeastSquares(
            factors=config.factors, regularization=config.regularization, alpha=1 + config.alpha, iterations=passes,
            num_threads=1, random_state=SEED,
        )  # fmt: skip
        with threadpool_limits(1, "blas"):
            _, cpu_s = timed(partial(library.fit, matrix, show_progress=False))
            theirs.append(Point(passes, cpu_s, ask_implicit(library, matrix, cases)))
    about = f"{config.factors} factors, regularization {config.regularization:g}, alpha {config.alpha:g}"
    curves = [
        Curve(f"als, frequency_power {power:g}", matrix.nnz, tuple(points), about) for power, points in ours.items()
    ]
    return Pair("ALS", tuple(curves), (Curve("implicit AlternatingLeastSquares", matrix.nnz, tuple(theirs), about),))


def item_item(data: Interactions, cases: Cases) -> Pair:
    """Count models: one pass and they are there."""
    ours: list[tuple[str, Callable[[], Recommender]]] = [
        ("transitions", lambda: Transitions.fit(data)),
        ("linear, next", lambda: Linear.fit(data, LinearConfig("next", train_recency=0.8))),
    ]
    curves = []
    for name, fit in ours:
        model, cpu_s = timed(fit)
        curves.append(Curve(name, len(data), (Point(1, cpu_s, ask(model, cases)),), "default but for what is named"))
    matrix, theirs = data.matrix().tocsr(), []
    for kind in (CosineRecommender, BM25Recommender):
        library = kind(K=300, num_threads=1)
        _, cpu_s = timed(partial(library.fit, matrix, show_progress=False))
        point = Point(1, cpu_s, ask_implicit(library, matrix, cases))
        theirs.append(Curve(f"implicit {kind.__name__}", len(data), (point,), "K=300"))
    return Pair("item to item", tuple(curves), tuple(theirs))


def sequence(
    data: Interactions, cases: Cases, config: SequenceConfig, peer: Path | None, peer_epochs: Sequence[int]
) -> Pair:
    """A causal transformer of the same width, depth and length on both sides, each otherwise as its library has it."""
    points: list[Point] = []
    began, paused = time.process_time(), 0.0

    def watch(epochs: int, model: SequenceModel) -> None:
        nonlocal paused
        cpu_s = time.process_time() - began - paused
        quality, asked_s = timed(lambda: ask(model, cases))
        points.append(Point(epochs, cpu_s, quality))
        paused += asked_s
        say(f"sequence epoch {epochs}: {cpu_s:.0f} CPU s, ndcg@10 {quality:.4f}")

    SequenceModel.fit(data, config, SEED, watch=watch)
    size = np.diff(data.indptr)
    about = f"{config.dimensions} dimensions, {config.blocks} blocks, {config.heads} heads, length {config.length}"
    ours = Curve("sequence", int((size - 1).sum()), tuple(points), f"{about}, {config.negatives} negatives")
    if peer is None:
        reason = f"no --peer-python: make an environment, `pip install '{PEER}'` there, and give its python"
        return Pair("sequence", (ours,), (), reason)
    found = sasrec(data, cases, config, peer, peer_epochs)
    if isinstance(found, str):
        return Pair("sequence", (ours,), (), found)
    read = int(np.minimum(size - 1, config.length).sum())
    return Pair("sequence", (ours,), (Curve("RecTools SASRecModel", read, found, f"{about}, full softmax"),))


def sasrec(
    data: Interactions, cases: Cases, config: SequenceConfig, python: Path, epochs: Sequence[int]
) -> tuple[Point, ...] | str:
    """RecTools' SASRec in its own environment, or why it could not be run."""
    settings = {
        "n_factors": config.dimensions, "n_blocks": config.blocks, "n_heads": config.heads,
        "session_max_len": config.length, "loss": "softmax", "k": K, "seed": SEED,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
        place = np.arange(len(data)) - data.indptr[data.user_ix]
        whole = [one.astype(np.int64) for one in (data.user_ix, data.item_ix, place, cases.users.rows)]
        np.savez(Path(folder) / "in.npz", user=whole[0], item=whole[1], position=whole[2], asked=whole[3])
        command = [str(python), str(PEER_SCRIPT), f"{folder}/in.npz", folder, json.dumps(settings), *map(str, epochs)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            return f"{python} failed: {(ran.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        return tuple(
            Point(line["epoch"], line["cpu_s"], cases.ndcg(np.load(f"{folder}/{line['epoch']}.npy"))) for line in lines
        )


def page(name: str, data: Interactions, cases: Cases, pairs: Sequence[tuple[Pair, int]]) -> str:
    """The markdown."""
    text = [
        "# Training speed", "",
        f"{name}, validation split: {len(data):,} interactions of {data.n_users:,} users with {data.n_items:,} items to learn "
        f"from, {len(cases.target):,} users asked for ten items they do not have. Times are CPU seconds of fitting, on "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} thread; a target is an interaction that is learned from, once a pass.",
        "",
    ]  # fmt: skip
    for pair, users in pairs:
        curves = (*pair.ours, *pair.theirs)
        text += [
            f"## {pair.title}" + (f" ({users:,} users)" if users < data.n_users else ""), "",
            "| | passes | targets/s | CPU s | ndcg@10 | CPU s to 99% of its own | CPU s to 99% of the library's best |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        best = max((curve.last.quality for curve in pair.theirs), default=np.inf)
        for curve in curves:
            to = [curve.reached(NEAR * quality) for quality in (curve.last.quality, best)]
            reached = ["not in this run" if s is None else f"{s:.1f}" for s in to]
            text.append(
                f"| {curve.name} | {curve.last.passes} | {curve.rate:,.0f} | {curve.last.cpu_s:.1f} | "
                f"{curve.last.quality:.4f} | {reached[0]} | {reached[1] if pair.theirs else ''} |"
            )
        text += ["", *(f"- {curve.name}: {curve.note}" for curve in curves)]
        text += [
            f"- {a.name} has {a.rate / b.rate:.2f} times the rate of {b.name}" for a in pair.ours for b in pair.theirs
        ]
        text += [f"- skipped, {pair.missing}"] if pair.missing else []
        if any(len(curve.points) > 1 for curve in curves):
            text += ["", "| ndcg@10 after | " + " | ".join(curve.name for curve in curves) + " |"]
            text += ["|---" * (len(curves) + 1) + "|"]
            for passes in sorted({point.passes for curve in curves for point in curve.points}):
                at = [next((p for p in curve.points if p.passes == passes), None) for curve in curves]
                text.append(
                    f"| {passes} | " + " | ".join(f"{p.quality:.4f} ({p.cpu_s:.0f} s)" if p else "" for p in at) + " |"
                )
        text.append("")
    text.append(
        f"Made by `python -m bench.train`, seed {SEED}, on {platform.machine()}, Python {platform.python_version()}."
    )
    return "\n".join(text) + "\n"


def say(text: str) -> None:
    """A line of the run's log."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a data folder with histories in order")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/training.md"), help="where the page goes")
    parser.add_argument("--cases", type=int, default=2000, help="users asked after each measured pass")
    parser.add_argument("--epochs", type=int, default=SequenceConfig.epochs, help="of the sequence model")
    parser.add_argument("--sequence-users", type=int, help="train the sequence models on so many users")
    parser.add_argument("--peer-python", type=Path, help=f"python of an environment with {PEER}")
    parser.add_argument("--peer-epochs", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="after which it is asked")
    given = parser.parse_args(argv)
    whole = Interactions.from_folder(given.folder).positives()
    data, cases = prepared(whole, whole.n_users, given.cases)
    part, asked = prepared(whole, given.sequence_users or whole.n_users, given.cases)
    config = SequenceConfig(epochs=given.epochs, time_buckets=0, negatives=512, ahead=3)
    makers = [
        partial(als, data, cases),
        partial(item_item, data, cases),
        partial(sequence, part, asked, config, given.peer_python, given.peer_epochs),
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    pairs: list[tuple[Pair, int]] = []
    for make, users in zip(makers, (data.n_users, data.n_users, part.n_users), strict=True):
        pairs.append((make(), users))
        text = page(given.folder.name, data, cases, pairs)  # what is there, should the next take too long
        given.out.write_text(text, encoding="utf-8")
        say(f"{pairs[-1][0].title}: done")
    print(text, flush=True)


if __name__ == "__main__":
    main()
