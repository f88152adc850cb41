"""Words and claims that a house does not want in its texts: its own list, beside what the checker refuses everywhere.

Whole words, in the forms that the list gives, whatever their case. An item is called by its name all the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from models.content.kind import ContentKind, F, Facts, Style, Violation, items_of
from models.content.titles import straight

LABEL = "label"  # tells the house of a text, and is shown to nobody else
REASON = "is on the house's list of words that no text may say (HEADWATER_CONTENT_BANNED)"


def objections(kind: ContentKind[F], text: str, facts: F, style: Style) -> list[Violation]:
    """What the kind's check finds in a text, and what the house's list does."""
    found = kind.check(text, facts, style)
    if not style.banned or kind.name == LABEL:
        return found
    return sorted([*found, *banned(text, facts, style.banned)], key=lambda one: one.span)


def banned(text: str, facts: Facts | None, words: tuple[str, ...]) -> list[Violation]:
    """Every place where a text says one of `words`, but for the names of the items that it is about."""
    items = items_of(facts) if words and facts is not None else []
    names = [name for item in items for name in (*item.names, item.title)]
    return [Violation(one.span(), one.group(), REASON, "banned") for one in said(text, names, words)]


def said(text: str, names: Iterable[str], words: tuple[str, ...]) -> list[re.Match[str]]:
    """Where a text says one of `words`, outside of these names."""
    if not words or not (found := list(_pattern(words).finditer(straight(text)))):
        return []
    spans = [
        one.span()
        for name in dict.fromkeys(straight(name) for name in names if name)
        for one in re.finditer(re.escape(name), straight(text), re.IGNORECASE)
    ]
    return [one for one in found if not any(start <= one.start() and one.end() <= end for start, end in spans)]


@lru_cache(8)
def list_hash(words: tuple[str, ...]) -> str:
    """What a list is kept as, beside the texts that were checked against it; "" for none."""
    return hashlib.sha256("\0".join(sorted(set(words))).encode()).hexdigest()[:16] if words else ""


@lru_cache(8)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    ways = (r"\s+".join(re.escape(part) for part in straight(word).split()) for word in longest_first)
    return re.compile(rf"(?<!\w)(?:{'|'.join(ways)})(?!\w)", re.IGNORECASE)
