"""Fit models on what a split allows, rank everything for every case, and say how well, how surely and at what cost."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidRequest
from core.progress import Reporter, Silent
from features.interactions import IdTable, Interactions
from models.metrics import MISS, Comparison, better, interval, measure, parse, target_ranks
from models.protocols import Split, time_split
from models.recommender import Recommender, UserBatch, top_k

__all__ = ["Comparison", "Fit", "Row", "better", "evaluate", "table", "time_split"]

SCORES_AT_ONCE = 4_000_000

Fit = Callable[[Interactions], Recommender]


@dataclass(frozen=True)
class Row:
    """One model on one split.

    `metrics` and `intervals` (95%, bootstrap over users) are by metric name, `hits` the targets within the first metric's
    cutoff, `coverage` the share of items that appear in anyone's list of that length. `values` holds each metric of each
    case (C,) and `users` whose case it is, for paired comparison.
    """

    model: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    hits: int
    targets: int
    cases: int
    cold_item_share: float
    cold_user_share: float
    coverage: float
    fit_s: float
    score_ms: float
    peak_bytes: int
    values: dict[str, NDArray[np.float64]]
    users: NDArray[np.int32]
    ranks: NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Everything but the arrays, as plain values."""
        arrays = {"values", "users", "ranks"}
        plain = {name: value for name, value in vars(self).items() if name not in arrays}
        return {**plain, "intervals": {name: list(bounds) for name, bounds in self.intervals.items()}}

    def against(self, other: Row, metric: str, seed: int = 0) -> Comparison:
        """Paired bootstrap over users of this model against another on the same split."""
        return better(self.values[metric], other.values[metric], seed, self.users)


def evaluate(
    models: Mapping[str, Recommender | Fit],
    split: Split,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
    seed: int = 0,
    reporter: Reporter | None = None,
) -> list[Row]:
    """Rank every item for every case and measure each model: a fitted one, or a function that fits one (`Transitions.fit`).

    Full ranking; what the user already has is masked where the split says so, the target never. Targets that a model
    was never trained on count as misses. Raises InvalidRequest for a fitted model that has seen past the split's cut.
    """
    if not metrics:
        raise InvalidRequest("name at least one metric, such as ndcg@10")
    shown = reporter or Silent()
    return [_row(name, model, split, metrics, seed, shown) for name, model in models.items()]


def table(rows: Sequence[Row], published: Sequence[Mapping[str, Any]] = ()) -> str:
    """The rows as aligned plain text, published figures (method and metrics) below ours, and what was measured under it."""
    if not rows:
        return "no models were evaluated"
    names = list(rows[0].metrics)
    head = [
        "model",
        *[part for name in names for part in (name, "95%")],
        "hits",
        "coverage",
        "fit s",
        "ms/case",
        "peak MB",
    ]
    lines = [head]
    for row in rows:
        figures = [
            part for name in names
            for part in (f"{row.metrics[name]:.4f}", "{:.4f}-{:.4f}".format(*row.intervals[name]))
        ]  # fmt: skip
        cost = [f"{row.fit_s:.1f}", f"{row.score_ms:.2f}", f"{row.peak_bytes / 1e6:,.0f}"]
        lines.append([row.model, *figures, f"{row.hits:,}", f"{row.coverage:.3f}", *cost])
    for entry in published:
        figures = [part for name in names for part in (f"{entry[name]:.4f}" if name in entry else "", "")]
        lines.append([f"{entry['method']} (published)", *figures, *[""] * 5])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_aligned(line, widths) for line in lines]
    first = rows[0]
    about = (
        f"{first.cases:,} cases, {first.targets:,} targets; cold items {first.cold_item_share:.1%} of targets (always a miss), "
        f"cold users {first.cold_user_share:.1%} of cases; full ranking, ties against the model"
    )
    return "\n".join([*text, about])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([cells[0].ljust(widths[0]), *padded]).rstrip()


def _row(
    name: str, model: Recommender | Fit, split: Split, metrics: Sequence[str], seed: int, reporter: Reporter
) -> Row:
    _forget_peak()
    began = time.perf_counter()
    fitted = model if isinstance(model, Recommender) else model(split.train)
    fit_s = time.perf_counter() - began
    if split.cut_s is not None and fitted.trained_until_s >= split.cut_s:
        raise InvalidRequest(
            f"model {name} has seen interactions at or after the split's cut; give the function that fits it instead"
        )
    began = time.perf_counter()
    ranks, shown, cold = _rank(name, fitted, split, parse(metrics[0])[1], reporter)
    score_s = time.perf_counter() - began
    values = {metric: measure(metric, ranks, split.target_indptr) for metric in metrics}
    return Row(
        model=name,
        metrics={metric: float(v.mean()) for metric, v in values.items()},
        intervals={metric: interval(v, seed, split.user_ix) for metric, v in values.items()},
        hits=int(np.count_nonzero(ranks <= parse(metrics[0])[1])),
        targets=len(ranks),
        cases=len(split),
        cold_item_share=float(np.mean(ranks == MISS)),
        cold_user_share=float(cold.mean()),
        coverage=float(shown.mean()),
        fit_s=fit_s,
        score_ms=1000 * score_s / len(split),
        peak_bytes=_peak_bytes(),
        values=values,
        users=split.user_ix,
        ranks=ranks,
    )


def _rank(
    name: str, model: Recommender, split: Split, k: int, reporter: Reporter
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ranks of all targets (T,), which of the model's items were in a top k (n_items,), which cases are cold users (C,)."""
    item_rows = IdTable(model.item_ids).rows(split.record.item_ids)
    user_rows = split.train.users.rows(split.record.user_ids)
    n_items = len(model.item_ids)
    shown = np.zeros(n_items, dtype=bool)
    ranks, step = [], max(1, SCORES_AT_ONCE // n_items)
    with reporter.task(f"evaluate {name}", len(split)) as task:
        for at in range(0, len(split), step):
            part = slice(at, min(at + step, len(split)))
            users = split.users(part, item_rows, user_rows)
            case, target = split.targets(part)
            target = np.where(target >= 0, item_rows[target], -1).astype(np.int32)
            scores = model.scores(users)
            if split.mask_seen:
                _mask_seen(scores, users, case, target)
            ranks.append(target_ranks(scores, case, target))
            top = top_k(scores, k)[0]
            shown[top[top >= 0]] = True
            task.advance(len(users))
    return np.concatenate(ranks), shown, user_rows[split.user_ix] < 0


def _mask_seen(
    scores: NDArray[np.float32], users: UserBatch, case: NDArray[np.int64], target: NDArray[np.int32]
) -> None:
    """Set what the user has to -inf, in place; a target keeps its score."""
    known = target >= 0
    kept = scores[case[known], target[known]]
    scores[users.owner, users.items] = -np.inf
    scores[case[known], target[known]] = kept


def _forget_peak() -> None:
    """Start measuring peak memory anew, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # the peak of the whole process stands in


def _peak_bytes() -> int:
    """Peak resident memory in bytes, since _forget_peak where that worked."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
