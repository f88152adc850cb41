"""What differs between two texts, and where the checker found something: parts in order, for a page or a terminal to draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Literal

from models.content.kind import Violation

Change = Literal["same", "gone", "new"]
WORD = re.compile(r"\s+|\w+|[^\w\s]")
MAX_WORDS = 2_000  # of a text; longer ones are compared whole, since comparing takes the product of both


def words_changed(before: str, after: str) -> list[tuple[Change, str]]:
    """`after` against `before`, word by word. Parts "same" and "gone" in order are `before`, "same" and "new" are `after`."""
    old, new = WORD.findall(before), WORD.findall(after)
    if max(len(old), len(new)) > MAX_WORDS:
        old, new = [before], [after]
    parts: list[tuple[Change, str]] = []
    for what, old_start, old_end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what == "equal":
            parts.append(("same", "".join(old[old_start:old_end])))
            continue
        gone, come = "".join(old[old_start:old_end]), "".join(new[new_start:new_end])
        parts += [(kind, text) for kind, text in (("gone", gone), ("new", come)) if text]  # type: ignore[misc]
    return parts


def marked(text: str, found: Sequence[Violation]) -> list[tuple[str, list[Violation]]]:
    """The text in parts, each with the violations whose span holds it; the parts in order are the text."""
    edges = {0, len(text)}
    for violation in found:
        edges |= {min(max(place, 0), len(text)) for place in violation.span}
    places = sorted(edges)
    return [
        (text[start:end], [one for one in found if one.span[0] <= start and end <= one.span[1]])
        for start, end in pairwise(places)
    ]
