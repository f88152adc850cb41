"""The page that bench/content.py writes."""

from __future__ import annotations

import platform
import random
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from models.content.branded import sentence
from models.content.description import DESCRIPTION
from models.content.kind import PLAIN, ItemFacts

SHOWN = 10
READ = (
    "Sixty of the texts were read as a stranger would, before and after the wordings were changed. Before (in the "
    'manner of "By Acme, Acme Labels, Pack of 100 (05444) is a product.") all were true, and nobody would print '
    "them: the brand twice, a singular verb after a plural, an article number, and a sentence of the description "
    "in one of five, some about the maker or torn from what stood before.",
    "Now the brand is said once, article numbers are left out, there is no verb to get wrong, and a sentence is "
    "quoted only where it is whole, about the item and leans on no other. What remains: most texts say little "
    "more than their title; a quotation is as good as its source, slips of grammar included, and some advertise "
    "in words that no list calls praise; a title that begins with a model's number reads like a stock list; and "
    "the model adds no more than the choice of a wording, as a small one cannot be trusted with more.",
)
SEED = 0


class Speed(Protocol):
    """See bench/content.py."""

    @property
    def way(self) -> str: ...
    @property
    def items(self) -> int: ...
    @property
    def repeats(self) -> int: ...
    @property
    def verified(self) -> int: ...
    @property
    def tokens_s(self) -> float: ...
    @property
    def items_s(self) -> float: ...


def page(
    speeds: Sequence[Speed], items: Sequence[ItemFacts], held: list[dict[str, Any]], free: list[dict[str, Any]]
) -> str:
    """The markdown of one run."""
    arguments = " ".join(sys.argv[1:])
    parts = [
        "# Writing texts",
        f"Made by `python -m bench.content{' ' + arguments if arguments else ''}`: SmolLM2-135M-Instruct (Q4_1, as in the demo), "
        f"kind `description`, seed {SEED}, {platform.machine()}, Python {platform.python_version()}. No GPU was at hand.",
    ]
    if speeds:
        parts += ["## Speed", speed_table(speeds)]
    if held:
        parts += ["## A shop's 3,459 products", *office(items, held, free)]
    return "\n\n".join(parts) + "\n"


def speed_table(speeds: Sequence[Speed]) -> str:
    """Each way beside the best of those that write one item at a time with transformers."""
    base = max((one for one in speeds if one.way.startswith("transformers")), key=lambda one: one.items_s)
    lines = [
        "One run, medians, invented films. The baseline reads the examples anew for each item; verified: at first try.",
        "",
        "| way | repeats | tokens/s | items/s | of the baseline | verified |",
        "|---|---|---|---|---|---|",
    ]
    for one in speeds:
        share = f"{one.items_s / base.items_s:.1f}x"
        lines.append(
            f"| {one.way} | {one.repeats} | {one.tokens_s:.1f} | {one.items_s:.2f} | {share} | {one.verified} of {one.items} |"
        )
    return "\n".join(lines)


def office(items: Sequence[ItemFacts], held: list[dict[str, Any]], free: list[dict[str, Any]]) -> list[str]:
    """Shares, what the checker says of what was stored, and texts to judge."""
    facts = {item.item: item for item in items}
    wrong = [row for row in held if row["text"] and DESCRIPTION.check(row["text"], facts[row["item"]], PLAIN)]
    nothing = sum(not row["text"] for row in held)
    lines = [
        "| written | items | at first try | after a retry | by template | s an item | CPU s an item |",
        "|---|" + "---|" * 6,
    ]
    for name, rows in (
        ("free", free),
        ("held to a pattern, the same items", held[: len(free)]),
        ("held to a pattern, all", held),
    ):
        if rows:
            lines.append(f"| {name} | {len(rows):,} | {shares(rows)} |")
    said = (
        f"Name, brand and, where the checker has nothing against one, a sentence of the description are what a model is given; "
        f"the pattern holds it to them (docs/content.md). Of the {len(items):,} items drawn, checked once more as they were "
        f"stored: **{len(wrong)} with a claim that the checker does not find supported**, {nothing} without a text."
    )
    draw = random.Random(SEED).sample(held, min(SHOWN, len(held)))
    shown = [f"- ({row['origin']}) {row['text']}" for row in draw]
    quoting = sum(_quotes(row["text"], facts[row["item"]]) for row in held)
    return [
        said,
        "\n".join(lines),
        "### Ten drawn by a seed, to judge",
        "\n".join(shown),
        "### What a reader finds",
        f"{quoting:,} of {len(held):,} ({quoting / len(held):.0%}) quote a sentence of their description.",
        *READ,
    ]


def _quotes(text: str, facts: ItemFacts) -> bool:
    said = sentence(facts, PLAIN, DESCRIPTION.check) if facts.names else ""
    return bool(said) and text.endswith(said)


def shares(rows: Sequence[dict[str, Any]]) -> str:
    """The cells of a row of the table."""
    by_model = [row for row in rows if row["origin"] == "model"]
    first = sum(row["attempts"] == 1 for row in by_model)
    counts = (first, len(by_model) - first, len(rows) - len(by_model))
    cells = [f"{count:,} ({count / len(rows):.1%})" for count in counts]
    seconds = [sum(row[what] for row in rows) / len(rows) for what in ("seconds", "cpu_s")]
    return " | ".join([*cells, *(f"{one:.2f}" for one in seconds)])
