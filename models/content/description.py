"""The kind "description": a sentence that says what an item is, from its name, year and categories alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

from core.settings import Length
from models.content import branded
from models.content.facts import LANGUAGES, Form, check, universal
from models.content.grammar import article
from models.content.kind import PLAIN, ItemFacts, Probe, Style, Violation
from models.content.naming import brand_of, has_shop_title, labels_in, noun_in
from models.content.prompting import few_shot, hash_of, one_of, told, tried
from models.content.quotation import CHOICE, sentence
from models.text.generator import Prompt

SYSTEM = {
    "en": "You turn a note about a {noun} into one sentence with the same facts and nothing else.",
    "de": "Du machst aus einer Notiz einen deutschen Satz mit denselben Angaben und sonst nichts.",
}

# Shown to the model as notes and their sentences. A small model copies the shape it sees, so the number of categories
# varies and the note is already the phrase to copy. The items are invented: a word of theirs that leaks into a text is
# refused like any other that the facts do not hold.
EXAMPLES = (
    ("Velvet Harbour", 1931, ("musical", "mystery")),
    ("Paper Lanterns", 1988, ("western",)),
    ("The Quiet Orchard", 1974, ("fantasy", "adventure", "war", "documentary", "romance")),
    ("The Bronze Rivers", 2003, ("crime", "documentary", "musical")),
)
NOTE = {"en": "{name} | {a} {labels} {noun} | {year}", "de": "{name} | {a} {noun} der Kategorien {labels} | {year}"}
UNDATED_NOTE = {"en": "{name} | {a} {labels} {noun}", "de": "{name} | {a} {noun} der Kategorien {labels}"}
# Which wording an item gets depends on its id, so a catalogue does not read alike; a retry takes the next one.
WORDINGS = {
    "en": (
        "{name} is {a} {labels} {noun} from {year}.",
        "Released in {year}, {name} is {a} {labels} {noun}.",
        "{name} ({year}) is {a} {labels} {noun}.",
    ),
    "de": (
        "{name} ({year}) ist {a} {noun} der Kategorien {labels}.",
        "{name} ist {a} {noun} aus dem Jahr {year} der Kategorien {labels}.",
    ),
}
UNDATED_WORDINGS = {
    "en": ("{name} is {a} {labels} {noun}.", "{name} belongs to {labels}."),
    "de": ("{name} ist {a} {noun} der Kategorien {labels}.", "{name} gehört zu den Kategorien {labels}."),
}
FORM = Form(max_chars=400, max_sentences=2)
NO_NAME = "the title is empty or cannot be shown"


class Description:
    """What an item is, in a sentence; asked of a model in English and German, by examples."""

    name = "description"
    facts_type = ItemFacts
    max_tokens = 160
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        shown = branded.SYSTEM, branded.EXAMPLES, branded.NOTE, branded.WORDINGS
        return hash_of(SYSTEM, EXAMPLES, NOTE, UNDATED_NOTE, WORDINGS, UNDATED_WORDINGS, shown, CHOICE)

    def probes(self, style: Style) -> list[Probe[ItemFacts]]:
        """Eight invented works, and eight invented things of a shop."""
        return tried()

    def writable(self, facts: ItemFacts, style: Style) -> str | None:
        """Why a model is not asked: a language without a grammar here, a name that cannot be shown, nothing to say."""
        locale = style.locale or facts.locale
        if style.code(facts) not in LANGUAGES or Style().code(facts) not in LANGUAGES:
            return f"a model writes in English and German only, not in {locale!r} from facts in {facts.locale!r}"
        if not facts.names:
            return NO_NAME
        return (
            None if facts.labels or branded.writable(facts) else "the item has no category or brand to describe it by"
        )

    def prompt(self, facts: ItemFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """A chat of examples that ends with this item's note.

        Only the cleaned name, the year and the cleaned categories enter; of an item without categories or with a shop's title
        its brand and, where the checker has nothing against it, a sentence of its description (see branded.py).
        """
        code = style.code(facts)
        if branded.writable(facts) and (not facts.labels or has_shop_title(facts)):
            return branded.prompt(facts, style, rejected, self.check)
        wording, note = _wording(facts, len(rejected), code), (NOTE if facts.year else UNDATED_NOTE)[code]
        invented = [
            ItemFacts.of("e", name, labels, {"type": facts.noun, "year": year}) for name, year, labels in EXAMPLES
        ]
        examples = [(_filled(note, one, code), _filled(wording, one, code)) for one in invented]
        system = told(SYSTEM[code].format(noun=facts.noun), style, code)
        # A small model copies "The Quiet Orchard", but loses its way in "Hanging Tabs, 2", Clear, 25 per Pack (42)".
        pattern = one_of(self._whole(facts, style, code)) if has_shop_title(facts) else ""
        return few_shot(system, examples, _filled(note, facts, code), rejected, pattern)

    def _whole(self, facts: ItemFacts, style: Style, code: str) -> list[str]:
        """Every wording with the item's own facts, and the template where none passes the check."""
        texts = [_filled(one, facts, code) for one in (WORDINGS if facts.year else UNDATED_WORDINGS)[code]]
        heads = [text for text in texts if not self.check(text, facts, style)] or [self.fallback(facts, style)]
        said = sentence(facts, style, heads[0], self.check)
        whole = [f"{head} {said}" for head in heads] if said else heads
        return [text for text in whole if not self.check(text, facts, style)] or heads

    def check(self, text: str, facts: ItemFacts, style: Style = PLAIN) -> list[Violation]:
        """See facts.check."""
        return [] if text == _last(facts, style) else check(text, facts, FORM, style.locale)

    def fallback(self, facts: ItemFacts, style: Style = PLAIN) -> str:
        """ "Toy Story (1995) is an animation, children's and comedy film.": the fullest wording that passes the check."""
        wordings = {"en": _sentences, "de": _german}.get(style.code(facts), _list)
        texts = [*wordings(facts, style.length), _last(facts, style)]
        return next(text for text in texts if not self.check(text, facts, style))


def _wording(facts: ItemFacts, retry: int, code: str) -> str:
    wordings = (WORDINGS if facts.year else UNDATED_WORDINGS)[code]
    first = hashlib.sha256(facts.item.encode()).digest()[0]
    return wordings[(first + retry) % len(wordings)]


def _filled(wording: str, facts: ItemFacts, code: str) -> str:
    labels, (a, noun) = labels_in(facts, code), noun_in(facts, code)
    a = article(labels[0]) if code == "en" else a
    if len(labels) == 1:
        wording = wording.replace("zu den Kategorien", "zur Kategorie").replace("Kategorien", "Kategorie")
    return wording.format(name=facts.names[0], year=facts.year, labels=listed(labels, code), noun=noun, a=a)


def _last(facts: ItemFacts, style: Style) -> str:
    """What is true of every item, whatever its title does to any other text."""
    code = style.code(facts)
    return universal(facts) if code == "en" else "Dieser Titel ist Teil dieses Katalogs." if code == "de" else "–"


def _dated(facts: ItemFacts, nameless: str) -> tuple[str, str]:
    name = facts.names[0] if facts.names else nameless
    return name, f"{name} ({facts.year})" if facts.year else name


def _sentences(facts: ItemFacts, length: Length) -> list[str]:
    """Wordings from the fullest to the one that nothing can make wrong."""
    _, noun = noun_in(facts, "en")
    name, dated = _dated(facts, f"This {noun}")
    labels = labels_in(facts, "en")
    texts = []
    if labels and length == "short":
        texts.append(f"{name} is {article(labels[0])} {labels[0]} {noun}.")
    if labels and length == "long":
        made = [f"It was released in {facts.year}."] if facts.year else []
        made += [f"It is by {brand}."] if (brand := brand_of(facts)) else []
        texts += [f"{name} is {article(labels[0])} {listed(labels, 'en')} {noun}. {more}" for more in made]
    if labels:
        texts.append(f"{dated} is {article(labels[0])} {listed(labels, 'en')} {noun}.")
        texts.append(f"{dated} belongs to {listed(labels, 'en')}.")
    if facts.year:
        texts.append(f"{name} is {article(noun)} {noun} released in {facts.year}.")
    if brand := brand_of(facts):
        texts.append(f"{name} is {article(noun)} {noun} by {brand}.")
    return [*texts, f"{name} is part of this catalogue."]


def _german(facts: ItemFacts, length: Length) -> list[str]:
    a, noun = noun_in(facts, "de")
    this = "Diese" if a == "eine" else "Dieser" if noun in ("Film", "Titel", "Artikel") else "Dieses"
    name, dated = _dated(facts, f"{this} {noun}")
    labels = labels_in(facts, "de")
    texts = []
    if labels and length == "short":
        texts.append(f"{name} ist {a} {noun} der Kategorie {labels[0]}.")
    if labels:
        what = f"der Kategorie{'n' if len(labels) > 1 else ''} {listed(labels, 'de')}"
        if length == "long":
            the = {"Dieser": "Der", "Diese": "Die", "Dieses": "Das"}[this]
            made = [f"{the} {noun} ist aus dem Jahr {facts.year}."] if facts.year else []
            made += [f"{the} {noun} ist von {brand}."] if (brand := brand_of(facts)) else []
            texts += [f"{name} ist {a} {noun} {what}. {more}" for more in made]
        texts += [f"{dated} ist {a} {noun} {what}.", f"{dated}: {', '.join(labels)}."]
    if facts.year:
        texts.append(f"{name} ist {a} {noun} aus dem Jahr {facts.year}.")
    if brand := brand_of(facts):
        texts.append(f"{name} ist {a} {noun} von {brand}.")
    return [*texts, f"{name} ist Teil dieses Katalogs."]


def _list(facts: ItemFacts, length: Length) -> list[str]:
    """For other languages: a list has no grammar to get wrong. A dash where there is nothing to say."""
    name = facts.names[0] if facts.names else ""
    labels = facts.labels[:1] if length == "short" else facts.labels
    dated = " ".join(part for part in (name, f"({facts.year})" if facts.year else "") if part)
    full = ": ".join(part for part in (dated, ", ".join(labels)) if part)
    return [f"{text}." for text in (full, dated, name) if text]


def listed(parts: Sequence[str], code: str) -> str:
    """ "a", "a and b", "a, b und c"."""
    joint = {"en": " and ", "de": " und "}.get(code, ", ")
    return joint.join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


DESCRIPTION = Description()
