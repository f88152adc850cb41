"""Fit models on what a split allows, rank everything for every case, and say how well, how surely and at what cost."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidRequest
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.item_features import ItemFeatures
from models.leaks import refuse_leaking_model, refuse_leaking_split
from models.list_quality import ListQuality
from models.metrics import Comparison, better, interval, measure, parse
from models.protocols import Split, time_split
from models.ranking import Segment, rank, segments
from models.recommender import Recommender

__all__ = ["Comparison", "Fit", "Row", "better", "evaluate", "table", "time_split"]

Fit = Callable[[Interactions], Recommender]


@dataclass(frozen=True)
class Row:
    """One model on one split.

    `metrics` and `intervals` (95%, bootstrap over users) are by metric name, `hits` the targets within the first metric's
    cutoff, `coverage` the share of items that appear in anyone's list of that length. `lists` says what else those lists are
    like, `segments` how cold and warm users and items fare apart. `values` holds each metric of each case (C,) and `users`
    whose case it is, for paired comparison.
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
    lists: ListQuality | None = None
    segments: dict[str, Segment] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything but the arrays, as plain values."""
        arrays = {"values", "users", "ranks"}
        plain = {name: value for name, value in vars(self).items() if name not in arrays}
        return {
            **plain,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "lists": asdict(self.lists) if self.lists is not None else None,
            "segments": {label: asdict(segment) for label, segment in self.segments.items()},
        }

    def against(self, other: Row, metric: str, seed: int = 0) -> Comparison:
        """Paired bootstrap over users of this model against another on the same split."""
        return better(self.values[metric], other.values[metric], seed, self.users)


def evaluate(
    models: Mapping[str, Recommender | Fit],
    split: Split,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
    seed: int = 0,
    reporter: Reporter | None = None,
    features: ItemFeatures | None = None,
) -> list[Row]:
    """Rank every item for every case and measure each model: a fitted one, or a function that fits one (`Transitions.fit`).

    Full ranking; what the user already has is masked where the split says so, the target never. A target that a model
    has no row for counts as a miss. `features` are those that models were given besides `split.train`; they also tell the
    categories. Raises InvalidRequest for a split, features or a model that know what comes after the cases: see models.leaks.
    """
    if not metrics:
        raise InvalidRequest("name at least one metric, such as ndcg@10")
    refuse_leaking_split(split, features)
    shown = reporter or Silent()
    return [_row(name, model, split, metrics, seed, shown, features) for name, model in models.items()]


def table(rows: Sequence[Row], published: Sequence[Mapping[str, Any]] = ()) -> str:
    """Two tables as aligned plain text: accuracy and cost, with published figures (method and metrics) below ours, and what
    the lists are made of; under each, what was measured.
    """
    if not rows:
        return "no models were evaluated"
    first = rows[0]
    about = (
        f"{first.cases:,} cases, {first.targets:,} targets; cold items {first.cold_item_share:.1%} of targets, "
        f"cold users {first.cold_user_share:.1%} of cases; full ranking, ties against the model; 95% bootstrap over users"
    )
    return "\n".join([*_aligned(_accuracy(rows, published)), about, "", *_aligned(_beyond(rows)), BEYOND])


BEYOND = (
    "novelty: bits an entry; lift: how much more popular than what people had; tail: entries outside the most popular fifth; "
    "miscalibration: KL of the categories, in nats"
)


def _accuracy(rows: Sequence[Row], published: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    names = list(rows[0].metrics)
    measured = [part for name in names for part in (name, "95%")]
    lines = [["model", *measured, "hits", "fit s", "ms/case", "peak MB"]]
    for row in rows:
        figures = [
            part for name in names
            for part in (f"{row.metrics[name]:.4f}", "{:.4f}-{:.4f}".format(*row.intervals[name]))
        ]  # fmt: skip
        cost = [f"{row.fit_s:.1f}", f"{row.score_ms:.2f}", f"{row.peak_bytes / 1e6:,.0f}"]
        lines.append([row.model, *figures, f"{row.hits:,}", *cost])
    for entry in published:
        figures = [part for name in names for part in (f"{entry[name]:.4f}" if name in entry else "", "")]
        lines.append([f"{entry['method']} (published)", *figures, *[""] * 4])
    return lines


def _beyond(rows: Sequence[Row]) -> list[list[str]]:
    metric = list(rows[0].metrics)[-1]
    labels = list(dict.fromkeys(label for row in rows for label in row.segments))
    lines = [
        ["model", "coverage", "novelty", "lift", "tail", "miscalibration", *(f"{metric} {label}" for label in labels)]
    ]
    for row in rows:
        lists = row.lists or ListQuality(row.coverage)
        quality = (lists.novelty_bits, lists.popularity_lift, lists.tail_share, lists.miscalibration)
        apart = [f"{row.segments[label].metrics[metric]:.4f}" if label in row.segments else "" for label in labels]
        lines.append([row.model, f"{row.coverage:.3f}", *("" if q is None else f"{q:.3f}" for q in quality), *apart])
    return lines


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for cells in lines:
        padded = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        text.append("  ".join([cells[0].ljust(widths[0]), *padded]).rstrip())
    return text


def _row(
    name: str,
    model: Recommender | Fit,
    split: Split,
    metrics: Sequence[str],
    seed: int,
    reporter: Reporter,
    features: ItemFeatures | None,
) -> Row:
    cutoff = parse(metrics[0])[1]
    _forget_peak()
    began = time.perf_counter()
    fitted = model if isinstance(model, Recommender) else model(split.train)
    fit_s = time.perf_counter() - began
    refuse_leaking_model(name, fitted, split, features)
    began = time.perf_counter()
    ranking = rank(name, fitted, split, cutoff, reporter, features)
    score_s = time.perf_counter() - began
    values = {metric: measure(metric, ranking.ranks, split.target_indptr) for metric in metrics}
    return Row(
        model=name,
        metrics={metric: float(v.mean()) for metric, v in values.items()},
        intervals={metric: interval(v, seed, split.user_ix) for metric, v in values.items()},
        hits=int(np.count_nonzero(ranking.ranks <= cutoff)),
        targets=len(ranking.ranks),
        cases=len(split),
        cold_item_share=float(ranking.cold_item.mean()),
        cold_user_share=float(ranking.cold_user.mean()),
        coverage=ranking.lists.coverage,
        fit_s=fit_s,
        score_ms=1000 * score_s / len(split),
        peak_bytes=_peak_bytes(),
        values=values,
        users=split.user_ix,
        ranks=ranking.ranks,
        lists=ranking.lists,
        segments=segments(ranking, split, list(metrics)),
    )


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
