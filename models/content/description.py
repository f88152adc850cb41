"""The kind "description": one or two sentences that say what an item is, from its name, year and categories alone."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from models.content.facts import Form, check, is_english
from models.content.grammar import article
from models.content.kind import ItemFacts, Style, Violation
from models.text.generator import Message, Prompt

SYSTEM = "You write one catalogue sentence about a {noun}. Use every fact given and nothing else."

# Small models copy the shape, so the shapes differ and the number of categories does too. The items are invented: a
# word of them in a text is refused like any other that the facts do not hold.
EXAMPLES = (
    (("Velvet Harbour", 1931, ("musical", "mystery")), "Released in 1931, Velvet Harbour is a {noun} that blends musical and mystery."),
    (("Paper Lanterns", 1988, ("western",)), "Paper Lanterns is a western {noun} released in 1988."),
    (
        ("The Quiet Orchard", 1974, ("fantasy", "adventure", "war", "documentary", "romance")),
        "The Quiet Orchard (1974) is a {noun} that combines fantasy, adventure, war, documentary and romance.",
    ),
    (("Nine Rivers", 2003, ("horror", "documentary", "crime")), "Nine Rivers (2003) is a horror, documentary and crime {noun}."),
)  # fmt: skip


class Description:
    """What an item is, in a sentence; asked of a model in English only, by examples."""

    name = "description"
    max_tokens = 64
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over the instruction and the examples."""
        return hashlib.sha256(json.dumps([SYSTEM, EXAMPLES]).encode()).hexdigest()

    def writable(self, facts: ItemFacts, style: Style) -> str | None:
        """Why a model is not asked: another language than English, a name that cannot be shown, nothing to say."""
        locale = style.locale or facts.locale
        if not (is_english(locale) and is_english(facts.locale)):
            return f"descriptions are written by a model in English only, not in {locale!r}"
        if not facts.names:
            return "the title is empty or speaks to a language model"
        if not facts.labels and facts.year is None:
            return "there is nothing to say beyond the title"
        return None

    def prompt(self, facts: ItemFacts, style: Style) -> Prompt:
        """A chat of examples that ends with this item's facts, cleaned. `style` has no say yet beyond `writable`."""
        messages = [Message("system", SYSTEM.format(noun=facts.noun))]
        for (title, year, labels), text in EXAMPLES:
            messages.append(Message("user", _card(title, year, labels)))
            messages.append(Message("assistant", text.format(noun=facts.noun)))
        messages.append(Message("user", _card(facts.names[0] if facts.names else "", facts.year, facts.labels)))
        return Prompt(tuple(messages))

    def check(self, text: str, facts: ItemFacts) -> list[Violation]:
        """See facts.check."""
        return check(text, facts, Form(min_chars=12, max_chars=400, max_sentences=2))

    def fallback(self, facts: ItemFacts) -> str:
        """ "Toy Story (1995) is an animation, children's and comedy film." The fullest of a few wordings that passes the check."""
        texts = _sentences(facts) if is_english(facts.locale) else _list(facts)
        return next((text for text in texts if not self.check(text, facts)), texts[-1])


def _card(title: str, year: int | None, labels: tuple[str, ...]) -> str:
    lines = [f"Title: {title}", f"Year: {year}" if year else "", f"Genres: {', '.join(labels)}" if labels else ""]
    return "\n".join(line for line in lines if line)


def _sentences(facts: ItemFacts) -> list[str]:
    """Wordings from the fullest to the one that nothing can make wrong."""
    name = facts.names[0] if facts.names else f"This {facts.noun}"
    dated = f"{name} ({facts.year})" if facts.year else name
    texts = []
    if facts.labels:
        texts.append(f"{dated} is {article(facts.labels[0])} {_and(facts.labels)} {facts.noun}.")
        texts.append(f"{dated} belongs to the genres {_and(facts.labels)}.")
    if facts.year:
        texts.append(f"{name} is {article(facts.noun)} {facts.noun} released in {facts.year}.")
    return [*texts, f"{name} is part of this catalogue.", "This title is part of this catalogue."]


def _list(facts: ItemFacts) -> list[str]:
    """For facts in another language: a list has no grammar to get wrong."""
    name = facts.names[0] if facts.names else facts.item
    dated = f"{name} ({facts.year})" if facts.year else name
    return [f"{dated}: {', '.join(facts.labels)}." if facts.labels else f"{dated}.", f"{name}."]


def _and(parts: tuple[str, ...]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


DESCRIPTION = Description()
