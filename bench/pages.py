"""The markdown of one data set's page under docs/benchmarks/: our rows beside the published ones, and what was tried."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.recipes import Recipe
from models.evaluation import Row
from models.list_quality import ListQuality
from models.protocols import Protocol, Split

SEED = 0


@dataclass(eq=False)
class Line:
    """One row of the table."""

    name: str
    text: bool
    validation: Row | None  # None for a blend, whose weights were learned there
    test: Row
    cpu_s: float
    note: str = ""


def page(
    name: str,
    protocol: Protocol,
    validation: Split,
    lines: Sequence[Line],
    tried: Sequence[Row],
    began: float,
    recipe: Recipe,
) -> str:
    """The markdown of one data set. `began` is the process time at which the run did."""
    first = lines[0].test
    about = (
        f"{protocol.split} split; validation {len(validation):,} cases, test {first.cases:,} cases with {first.targets:,} "
        f"targets; cold items {first.cold_item_share:.1%} of test targets, cold users {first.cold_user_share:.1%} of cases; "
        f"what a user has is {'' if protocol.mask_seen else 'not '}masked; full ranking, ties against the model; intervals "
        "by bootstrap over users. Variants and weights are chosen on validation, then the test is read once."
    )
    made = (
        f"Made by `python -m bench.tables DATA/{name}`, seed {SEED}, in {time.process_time() - began:,.0f} CPU seconds on "
        f"{platform.machine()} ({os.environ.get('OMP_NUM_THREADS', 'all')} thread), Python {platform.python_version()}."
    )
    parts = [
        [f"# {name}"],
        [about],
        markdown(cells(protocol, lines)),
        compared(lines, protocol.metrics),
        ["## Beyond accuracy (test)", "", *markdown(beyond(lines, protocol.metrics[-1]))],
        ["## What stands behind the rows", "", *(f"- {line.name}: {line.note}" for line in lines)],
        ["## Tried on validation", "", *tried_table(tried, protocol.metrics)],
        [recipe.remarks.strip()] if recipe.remarks else [],
        [made],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def tried_table(tried: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Every variant with its figures on validation."""
    return markdown([["variant", *names], *([row.model, *(f"{row.metrics[m]:.4f}" for m in names)] for row in tried)])


def beyond(lines: Sequence[Line], metric: str) -> list[list[str]]:
    """What the lists are made of (models/list_quality.py), and cold and warm users and items apart."""
    labels = list(dict.fromkeys(label for line in lines for label in line.test.segments))
    apart = [f"{metric} {label} ({lines[0].test.segments[label].cases:,})" for label in labels]
    rows = [["model", "coverage", "novelty, bits", "popularity lift", "tail share", "miscalibration, nats", *apart]]
    for line in lines:
        lists = line.test.lists or ListQuality(line.test.coverage)
        quality = (lists.novelty_bits, lists.popularity_lift, lists.tail_share, lists.miscalibration)
        figures_apart = [f"{line.test.segments[label].metrics[metric]:.4f}" for label in labels]
        rows.append(
            [line.name, f"{lists.coverage:.3f}", *("" if q is None else f"{q:.3f}" for q in quality), *figures_apart]
        )
    return rows


def cells(protocol: Protocol, lines: Sequence[Line]) -> list[list[str]]:
    """The main table: our rows, then the published ones."""
    chosen = [picked(lines, text, protocol.metrics[-1]) for text in (False, True)]
    names = protocol.metrics
    head = [
        "model", "item text", *[f"validation {m}" for m in names],
        *[part for m in names for part in (f"**test {m}**", "95%")], "hits", "fit CPU s", "ms/case", "peak MB",
    ]  # fmt: skip
    rows = [head]
    for line in lines:
        test_figures = [
            part for m in names
            for part in (f"**{line.test.metrics[m]:.4f}**", "{:.4f}-{:.4f}".format(*line.test.intervals[m]))
        ]  # fmt: skip
        before = ["" if line.validation is None else f"{line.validation.metrics[m]:.4f}" for m in names]
        rows.append([
            line.name + (" (picked)" if line in chosen else ""), "yes" if line.text else "no",
            *before, *test_figures, f"{line.test.hits:,}",
            f"{line.cpu_s:.1f}", f"{line.test.score_ms:.2f}", f"{line.test.peak_bytes / 1e6:,.0f}",
        ])  # fmt: skip
    for entry in protocol.published:
        known = [part for m in names for part in (f"{entry[m]:.4f}" if m in entry else "", "")]
        rows.append([f"{entry['method']} (published)", *[""] * (1 + len(names)), *known, *[""] * 4])
    return rows


def picked(lines: Sequence[Line], text: bool, metric: str) -> Line:
    """The single model that validation picks, among those that use no text or, with `text`, among all."""
    figures_of = {
        line: line.validation.metrics[metric] for line in lines if line.validation and (text or not line.text)
    }
    return max(figures_of, key=lambda line: figures_of[line])


def compared(lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    """Each blend against the single model that validation picks (of ids, for a blend of ids), the others against popularity."""
    said = []
    base = next(line for line in lines if line.name == "popularity")
    for line in lines:
        other = picked(lines, line.text, names[-1]) if line.validation is None else base
        if line is other:
            continue
        for metric in names if line.validation is None else names[-1:]:
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
