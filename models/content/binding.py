"""Which item a claim speaks of: "Alien (1995) and Heat" gives one film the other's year, though both years are facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from models.content.german import NOUNS
from models.content.kind import ItemFacts, Violation
from models.content.support import Token

Scope = Literal["any", "all"]
GERMAN_PLURALS = frozenset(form for _, _, forms in NOUNS.values() for form in forms) | {"dramen", "komödien", "krimis"}
BOUND = ("category", "year", "fact", "noun")


def check(
    text: str, tokens: Sequence[Token], items: Sequence[ItemFacts], scope: Scope, subject: int | None = None
) -> Iterator[Violation]:
    """Claims that are true of some item, but not of the one they stand beside; and wrong counts of items.

    A claim speaks of the item named last before it; of all that follow, where it stands before every name of its sentence;
    where none is named, of all items (`scope` "all") or of any one, with the words around it. Of the item number `subject`
    in any case, where there is one.
    """
    if len(items) > 1:
        sentences = _sentences(text, tokens)
        before: frozenset[int] | None = None
        for sentence in sentences:
            yield from _sentence(text, sentence, before, items, scope, subject)
            before = next((token.holders for token in reversed(sentence) if token.tag == "title"), before)
    for token in tokens:
        if token.fact == "event" and not token.holders:
            reason = "did not happen, or is not what the recommendation comes from"
            yield Violation((token.start, token.end), token.raw, reason, "verb")
    yield from _counts(tokens, items)


def _sentences(text: str, tokens: Sequence[Token]) -> list[list[Token]]:
    sentences: list[list[Token]] = [[]]
    for before, token in pairwise([None, *tokens]):
        if token is not None:
            if before is not None and any(mark in text[before.end : token.start] for mark in ".?!"):
                sentences.append([])
            sentences[-1].append(token)
    return sentences


def _sentence(
    text: str, sentence: list[Token], before: frozenset[int] | None, items: Sequence[ItemFacts], scope: Scope,
    subject: int | None,
) -> Iterator[Violation]:  # fmt: skip
    named: frozenset[int] | None = None
    listed: list[frozenset[int]] = []  # the names that stand in one list with the last
    for index, token in enumerate(sentence):
        if token.tag == "title":
            listed = [*listed, token.holders] if index and _joined(sentence, index) else [token.holders]
            named = token.holders
            continue
        if token.tag not in BOUND or not token.holders or (token.fact == "event" and subject is None):
            continue
        following = [other.holders for other in sentence[index + 1 :] if other.tag == "title"]
        event = token.fact == "event"
        ways = _owners(named, following, before, event and subject is not None)
        if named is not None and not event and len(listed) > 1 and _of_all(text, sentence, index):
            ways = listed
        if subject is not None and not event:
            ways = [*(following if named is None else [named]), frozenset((subject,))]
        if not ways and scope == "all":
            ways = [frozenset((ix,)) for ix in range(len(items))]
        wrong = next((way for way in ways if not way & token.holders), None)
        if wrong is not None:
            yield _misplaced(token, items[min(wrong)])
        elif not ways and not _shared(text, sentence, index):
            span = (token.start, token.end)
            yield Violation(span, token.raw, "is true of no item that the words around it are true of", "attribution")


def _joined(sentence: list[Token], index: int) -> bool:
    """Whether the name at `index` follows another in a list: only "and" stands between."""
    before = [token for token in sentence[:index] if token.part != "and"]
    return bool(before) and before[-1].tag == "title"


def _of_all(text: str, sentence: list[Token], index: int) -> bool:
    """Whether a claim after a list speaks of the whole list: "A and B: thrillers", "A and B, films from 1995"."""
    last = max(at for at, token in enumerate(sentence[:index]) if token.tag == "title")
    after = text[sentence[last].end : sentence[last + 1].start]
    run = sentence[last + 1 : index + 3]
    return any(mark in after for mark in ":-") or any(
        token.tag in ("noun", "category") and (token.word.endswith("s") or token.word in GERMAN_PLURALS)
        for token in run
    )


def _owners(
    named: frozenset[int] | None, following: list[frozenset[int]], before: frozenset[int] | None, event: bool
) -> list[frozenset[int]]:
    """The items that a claim must be true of; each is a set because two items may have one name."""
    if event:  # "because you bought A and B": of those that follow, else of the one before
        return following or ([named] if named else [before] if before else [])
    if named is not None:
        return [named]
    return following or ([before] if before else [])


def _shared(text: str, sentence: list[Token], index: int) -> bool:
    """Whether some item has all that one run of words says: "Acme lamps" needs a lamp by Acme."""
    run = {index}
    for step in (-1, 1):
        at = index
        while 0 <= at + step < len(sentence):
            first, second = sorted((at, at + step))
            neighbour = sentence[at + step]
            gap = text[sentence[first].end : sentence[second].start]
            if any(mark in gap for mark in ",;:") or neighbour.part in ("and", "title", "also"):
                break
            at += step
            run.add(at)
    holders = [sentence[at].holders for at in run if sentence[at].tag in BOUND and sentence[at].holders]
    return bool(frozenset.intersection(*holders))


def _misplaced(token: Token, item: ItemFacts) -> Violation:
    name = item.names[0] if item.names else item.item
    rule = "verb" if token.fact == "event" else "attribution"
    return Violation((token.start, token.end), token.raw, f'is not true of "{name}"', rule)


def _counts(tokens: Sequence[Token], items: Sequence[ItemFacts]) -> Iterator[Violation]:
    """ "Three thrillers": as many as there are, or as are named."""
    named = len(frozenset().union(*(token.holders for token in tokens if token.tag == "title")))
    for index, token in enumerate(tokens):
        if token.tag != "count":
            continue
        counted = [other.holders for other in tokens[index + 1 : index + 4] if other.tag in BOUND and other.holders]
        there = len(frozenset.intersection(*counted)) if counted else len(items)
        if int(token.fact) not in (there, named):
            reason = f"is no count of these items: there are {there}"
            yield Violation((token.start, token.end), token.raw, reason, "number")
