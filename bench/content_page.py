"""The page that bench/content.py writes."""

from __future__ import annotations

import platform
import random
import statistics
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from models.content.description import DESCRIPTION
from models.content.kind import PLAIN, ItemFacts
from models.content.quotation import NEWS, news
from models.content.support import quotable

SHOWN = 10
READ = (
    'Texts are read as a stranger would whenever the wordings change. At first (in the manner of "By Acme, Acme Labels, '
    'Pack of 100 (05444) is a product.") all were true, and nobody would print them: the brand twice, a singular verb after '
    "a plural, an article number. Then two of three said no more than their title, though most descriptions hold more.",
    "Now the brand is said once, article numbers are left out, there is no verb to get wrong, and a sentence is quoted "
    "where it is whole, about the item, leans on no other and says what the title does not: also one about a part of it, a "
    'measure ("Cartridge yield (approx.): 700 pages."), or one without a verb ("Made of steel."). What remains: '
    "descriptions that speak to the reader or praise in every sentence are not quoted at all, so their texts say little; a "
    "quotation is as good as its source, slips of grammar included, and some advertise in words that no list calls praise "
    '("many sophisticated features"); a short one can be thin ("Dual combination locks."); a title that begins with a '
    "model's number reads like a stock list; and the model adds no more than the choice of a wording, as a small one cannot "
    "be trusted with more.",
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
    def device(self) -> str: ...
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
        f"kind `description`, seed {SEED}, {platform.machine()}, Python {platform.python_version()}. "
        + ("" if any(one.device == "cuda" for one in speeds) else "No GPU was at hand."),
    ]
    if speeds:
        parts += ["## Speed", speed_table(speeds)]
    if held:
        parts += ["## A shop's 3,459 products", *office(items, held, free)]
    return "\n\n".join(parts) + "\n"


def speed_table(speeds: Sequence[Speed]) -> str:
    """Each way beside the best, on the same device, of those that write one item at a time with transformers."""
    best: dict[str, Speed] = {}
    for one in speeds:
        if one.way.startswith("transformers") and (one.device not in best or one.items_s > best[one.device].items_s):
            best[one.device] = one
    lines = [
        "One run, medians, invented films. The baseline reads the examples anew for each item; verified: at first try.",
        "",
        "| way | repeats | tokens/s | items/s | of the baseline | verified |",
        "|---|---|---|---|---|---|",
    ]
    for one in speeds:
        share = f"{one.items_s / best[one.device].items_s:.1f}x"
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
    return [
        said,
        "\n".join(lines),
        "### What they say beyond their title",
        beyond([(facts[row["item"]], row["text"]) for row in held]),
        "### Ten drawn by a seed, to judge",
        "\n".join(shown),
        "### What a reader finds",
        *READ,
    ]


def beyond(texts: Sequence[tuple[ItemFacts, str]]) -> str:
    """Of how many items the facts hold more than the title and the brand, and how many texts say more."""
    more = [(item, text) for item, text in texts if len(news(item.description, item)) >= NEWS]
    said = [len(news(text, item)) for item, text in more]
    quotable_ones = sum(quotable(item.description) for item, _ in more)
    telling = [count for count in said if count >= NEWS]
    return (
        f"Of {len(more):,} of the {len(texts):,} items ({len(more) / len(texts):.0%}) the description has {NEWS} or more words "
        f"that say something and that title and brand have not. **{len(telling):,} of these {len(more):,} texts "
        f"({len(telling) / max(1, len(more)):.0%}) say {NEWS} or more**, {statistics.mean(telling or [0]):.1f} on average. "
        f"{len(more) - quotable_ones:,} descriptions are quoted nowhere, for a link, markup or what may be an order in them: "
        f"of the other {quotable_ones:,}, {len(telling) / max(1, quotable_ones):.0%} are said more of than the title."
    )


def shares(rows: Sequence[dict[str, Any]]) -> str:
    """The cells of a row of the table."""
    by_model = [row for row in rows if row["origin"] == "model"]
    first = sum(row["attempts"] == 1 for row in by_model)
    counts = (first, len(by_model) - first, len(rows) - len(by_model))
    cells = [f"{count:,} ({count / len(rows):.1%})" for count in counts]
    seconds = [sum(row[what] for row in rows) / len(rows) for what in ("seconds", "cpu_s")]
    return " | ".join([*cells, *(f"{one:.2f}" for one in seconds)])
