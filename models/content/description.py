"""The kind "description": a sentence that says what an item is, from its name, year and categories alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

from models.content.facts import Form, check, is_english, universal
from models.content.grammar import article
from models.content.kind import ItemFacts, Style, Violation
from models.text.generator import Message, Prompt

SYSTEM = "You turn a note about a {noun} into one sentence with the same facts and nothing else."
LEAVE_OUT = " Leave out: {claims}."
NAMED_CLAIMS = 3
NAMED_CHARS = 40

# Shown to the model as notes and their sentences. A small model copies the shape it sees, so the number of categories
# varies and the note is already the phrase to copy. The items are invented: a word of theirs that leaks into a text is
# refused like any other that the facts do not hold.
EXAMPLES = (
    ("Velvet Harbour", 1931, ("musical", "mystery")),
    ("Paper Lanterns", 1988, ("western",)),
    ("The Quiet Orchard", 1974, ("fantasy", "adventure", "war", "documentary", "romance")),
    ("The Bronze Rivers", 2003, ("crime", "documentary", "musical")),
)
NOTE = "{name} | {a} {labels} {noun} | {year}"
UNDATED_NOTE = "{name} | {a} {labels} {noun}"
# Which wording an item gets depends on its id, so a catalogue does not read alike; a retry takes the next one.
WORDINGS = (
    "{name} is {a} {labels} {noun} from {year}.",
    "Released in {year}, {name} is {a} {labels} {noun}.",
    "{name} ({year}) is {a} {labels} {noun}.",
)
UNDATED_WORDINGS = ("{name} is {a} {labels} {noun}.", "{name} belongs to {labels}.")


class Description:
    """What an item is, in a sentence; asked of a model in English only, by examples."""

    name = "description"
    max_tokens = 80
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        parts = (SYSTEM, LEAVE_OUT, EXAMPLES, NOTE, UNDATED_NOTE, WORDINGS, UNDATED_WORDINGS)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def writable(self, facts: ItemFacts, style: Style) -> str | None:
        """Why a model is not asked: another language than English, a name that cannot be shown, nothing to say."""
        locale = style.locale or facts.locale
        if not (is_english(locale) and is_english(facts.locale)):
            return f"a model writes descriptions in English only, not in {locale!r} from facts in {facts.locale!r}"
        if not facts.names:
            return "the title is empty or cannot be shown"
        return None if facts.labels else "the item has no category to describe it by"

    def prompt(self, facts: ItemFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """A chat of examples that ends with this item's note. `style` has no say beyond `writable` yet.

        Only the cleaned name, the year and the cleaned categories enter: a description or attribute never does.
        """
        wording = _wording(facts, len(rejected))
        system = SYSTEM.format(noun=facts.noun)
        if rejected:
            claims = [violation.claim for violation in rejected[-1] if 0 < len(violation.claim) <= NAMED_CHARS]
            named = ", ".join(f'"{claim}"' for claim in dict.fromkeys(claims[:NAMED_CLAIMS]))
            system += LEAVE_OUT.format(claims=named) if named else ""
        note = NOTE if facts.year else UNDATED_NOTE
        messages = [Message("system", system)]
        for name, year, labels in EXAMPLES:
            messages.append(Message("user", _filled(note, name, year, labels, facts.noun)))
            messages.append(Message("assistant", _filled(wording, name, year, labels, facts.noun)))
        messages.append(Message("user", _filled(note, facts.names[0], facts.year, facts.labels, facts.noun)))
        return Prompt(tuple(messages))

    def check(self, text: str, facts: ItemFacts) -> list[Violation]:
        """See facts.check."""
        return check(text, facts, Form(max_chars=400, max_sentences=2))

    def fallback(self, facts: ItemFacts) -> str:
        """ "Toy Story (1995) is an animation, children's and comedy film.": the fullest wording that passes the check."""
        texts = _sentences(facts) if is_english(facts.locale) else _list(facts)
        return next((text for text in texts if not self.check(text, facts)), texts[-1])


def _wording(facts: ItemFacts, retry: int) -> str:
    wordings = WORDINGS if facts.year else UNDATED_WORDINGS
    first = hashlib.sha256(facts.item.encode()).digest()[0]
    return wordings[(first + retry) % len(wordings)]


def _filled(wording: str, name: str, year: int | None, labels: tuple[str, ...], noun: str) -> str:
    return wording.format(name=name, year=year, labels=_and(labels), noun=noun, a=article(labels[0]))


def _sentences(facts: ItemFacts) -> list[str]:
    """Wordings from the fullest to the one that nothing can make wrong."""
    name = facts.names[0] if facts.names else f"This {facts.noun}"
    dated = f"{name} ({facts.year})" if facts.year else name
    texts = []
    if facts.labels:
        texts.append(f"{dated} is {article(facts.labels[0])} {_and(facts.labels)} {facts.noun}.")
        texts.append(f"{dated} belongs to {_and(facts.labels)}.")
    if facts.year:
        texts.append(f"{name} is {article(facts.noun)} {facts.noun} released in {facts.year}.")
    return [*texts, f"{name} is part of this catalogue.", universal(facts)]


def _list(facts: ItemFacts) -> list[str]:
    """For facts in another language: a list has no grammar to get wrong. A dash where there is nothing to say."""
    name = facts.names[0] if facts.names else ""
    dated = " ".join(part for part in (name, f"({facts.year})" if facts.year else "") if part)
    full = ": ".join(part for part in (dated, ", ".join(facts.labels)) if part)
    return [*(f"{text}." for text in (full, dated, name) if text), "–"]


def _and(parts: tuple[str, ...]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


DESCRIPTION = Description()
