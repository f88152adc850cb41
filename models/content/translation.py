"""The kind "translation": a text of another kind in another language, of the same facts.

The template writes the facts anew in the grammar of the language instead of translating words, so a translation can no more
say what is not so than its source. A model's translation must pass the check of the kind in that language, and name what its
source names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from models.content.facts import LANGUAGES, NAMES_OF
from models.content.kind import CONTENT_KINDS, PLAIN, ContentKind, Facts, Probe, Style, Violation, items_of
from models.content.language import base
from models.content.prompting import INVENTED, few_shot, hash_of, told, tried
from models.content.titles import plain, spoken
from models.text.generator import Prompt

MAX_SOURCE_CHARS = 500
SYSTEM = "You translate one line into {language}, with every name and number as it is, and add nothing."


@dataclass(frozen=True)
class TranslationFacts:
    """`text` is a published text of the kind `kind` about `about`; it is wanted in the language `locale`."""

    kind: str
    about: Facts
    text: str
    locale: str

    @property
    def item(self) -> str:
        """What the source is kept under."""
        return self.about.item


class Translation:
    """Another kind's text in the language of `locale`. Quotations of people are never translated."""

    name = "translation"
    facts_type = TranslationFacts
    max_tokens = 120
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        return hash_of(self.name, SYSTEM)

    def probes(self, style: Style) -> list[Probe[TranslationFacts]]:
        """Descriptions of invented items."""
        target = style.locale or "de"
        kind = CONTENT_KINDS["description"]
        source = Style("en" if base(target) != "en" else "de")
        return [
            Probe(TranslationFacts(kind.name, one.facts, kind.fallback(one.facts, source), target), shop=one.shop)
            for one in tried()
        ]

    def writable(self, facts: TranslationFacts, style: Style) -> str | None:
        """Why a model is not asked: no grammar of the language, a source it may not see, a kind of quotations."""
        target = style.locale or facts.locale
        if base(target) not in LANGUAGES:
            return f"there is no grammar here for {target!r}"
        if facts.kind in ("review_summary", "label"):
            return f"the kind {facts.kind!r} quotes, and quotations are not translated"
        if plain(facts.text, MAX_SOURCE_CHARS) != facts.text:
            return "the source is empty, long or not clean"
        return _kind(facts).writable(facts.about, style.to(target))

    def prompt(self, facts: TranslationFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """The source text after translated examples."""
        target = style.locale or facts.locale
        system = told(SYSTEM.format(language=NAMES_OF[base(target)]), Style(target, style.tone), "en")
        return few_shot(system, _examples(base(target)), facts.text, rejected)

    def check(self, text: str, facts: TranslationFacts, style: Style = PLAIN) -> list[Violation]:
        """The kind's own check in the language; and every name of an item and every number of the source is there."""
        wanted = style.to(style.locale or facts.locale)
        if text == self.fallback(facts, style):
            return []
        found = _kind(facts).check(text, facts.about, wanted)
        if found:
            return found
        names = [name for item in items_of(facts.about) for name in item.names[:1] if name in facts.text]
        numbers = [word for word in spoken(facts.text) if any(c.isdigit() for c in word)]
        lost = [*(name for name in names if name not in text), *(one for one in numbers if one not in spoken(text))]
        return [Violation((0, len(text)), text[:80], f'leaves out "{lost[0]}"', "translation")] if lost else []

    def fallback(self, facts: TranslationFacts, style: Style = PLAIN) -> str:
        """The kind's template in the language."""
        return _kind(facts).fallback(facts.about, style.to(style.locale or facts.locale))


@cache
def _examples(target: str) -> list[tuple[str, str]]:
    described = CONTENT_KINDS["description"]
    source = "en" if target != "en" else "de"
    return [(described.fallback(one, Style(source)), described.fallback(one, Style(target))) for one in INVENTED]


def _kind(facts: TranslationFacts) -> ContentKind[Any]:
    return CONTENT_KINDS[facts.kind]


TRANSLATION = Translation()
