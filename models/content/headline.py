"""The kind "headline": one line of at most 80 characters that names an item and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property

from core.settings import Length
from models.content.description import listed
from models.content.facts import LANGUAGES, Form, check
from models.content.kind import PLAIN, ItemFacts, Probe, Style, Violation
from models.content.naming import brand_of, has_shop_title, labels_in, noun_in, unbranded
from models.content.prompting import INVENTED, few_shot, hash_of, one_of, told, tried
from models.content.titles import spoken
from models.text.generator import Prompt

MAX_CHARS = 80
SYSTEM = {
    "en": "You write one headline of at most ten words from a note, with its facts and nothing else.",
    "de": "Du schreibst aus einer Notiz eine deutsche Überschrift mit ihren Angaben und sonst nichts.",
}
WORDINGS = {
    "en": ("{name} by {brand}", "{brand}: {name}", "{label}: {name}"),
    "de": ("{name} von {brand}", "{brand}: {name}", "{label}: {name}"),
}
UNIVERSAL = {"en": "Part of this catalogue", "de": "Teil dieses Katalogs"}
FORM = Form(
    MAX_CHARS, max_sentences=1, prose=False, phrases={"en": ("made for", "discover"), "de": ("entdecken",)},
)  # fmt: skip


class Headline:
    """A line above an item: its name, then its categories, brand or year, as far as they fit."""

    name = "headline"
    facts_type = ItemFacts
    max_tokens = 64
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        return hash_of(self.name, SYSTEM, WORDINGS, [self.fallback(item) for item in INVENTED])

    def probes(self, style: Style) -> list[Probe[ItemFacts]]:
        """Eight invented works, and eight invented things of a shop."""
        return tried()

    def writable(self, facts: ItemFacts, style: Style) -> str | None:
        """Why a model is not asked: no grammar of the language, no name, nothing to say."""
        if style.code(facts) not in LANGUAGES or Style().code(facts) not in LANGUAGES:
            return f"there is no grammar here for {style.locale or facts.locale!r}"
        if not facts.names:
            return "the title is empty or cannot be shown"
        branded = has_shop_title(facts) and brand_of(facts)
        return None if facts.labels or branded else "the item has no category or brand to name"

    def prompt(self, facts: ItemFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """Notes of name, categories, brand and year with their headlines; no description enters. A shop's title is held to
        the lines of WORDINGS that may be said of it."""
        code = style.code(facts)
        lines = self._lines(facts, style, code) if has_shop_title(facts) else []
        examples = _examples(code, style.length)
        pattern = one_of(lines) if lines else ""
        return few_shot(told(SYSTEM[code], style, code), examples, note(facts, code), rejected, pattern)

    def _lines(self, facts: ItemFacts, style: Style, code: str) -> list[str]:
        """Lines of the title without what a shop puts around it, the brand once, the first category; the template at least."""
        name, brand = unbranded(facts) or facts.names[0], brand_of(facts)
        told_twice = set(spoken(name))
        label = next((one for one in labels_in(facts, code) if told_twice.isdisjoint(spoken(one))), "")
        brand = brand if told_twice.isdisjoint(spoken(brand)) else ""
        said = {"name": name, "brand": brand, "label": label[:1].upper() + label[1:]}
        asked = [one for one in WORDINGS[code] if all(said[what] for what in said if f"{{{what}}}" in one)]
        texts = dict.fromkeys([*(one.format(**said) for one in asked), self.fallback(facts, style)])
        return [text for text in texts if not self.check(text, facts, style)]

    def check(self, text: str, facts: ItemFacts, style: Style = PLAIN) -> list[Violation]:
        """See facts.check: a line of supported words that names the item; or its cleaned name alone, however long."""
        if text == UNIVERSAL.get(style.code(facts), "–") or text in facts.names[:1]:
            return []
        return check(text, facts, FORM, style.locale or facts.locale)

    def fallback(self, facts: ItemFacts, style: Style = PLAIN) -> str:
        """ "Toy Story: animation, children's and comedy (1995)": as much as fits and passes the check."""
        code = style.code(facts)
        labels, name = labels_in(facts, code), facts.names[0] if facts.names else ""
        brand = brand_of(facts)
        by = (
            f"{name} {'von' if code == 'de' else 'by'} {brand}" if brand and brand.lower() not in name.lower() else name
        )
        year = f" ({facts.year})" if facts.year else ""
        if style.length == "short":
            by, year, labels = name, "", labels[:1]
        texts = [f"{by}: {listed(labels[:most], code)}{year}" for most in range(len(labels), 0, -1)] if name else []
        texts += [f"{name}{year}", name] if name else [listed(labels, code)[:1].upper() + listed(labels, code)[1:]]
        texts.append(UNIVERSAL.get(code, "–"))
        return next(text for text in texts if not self.check(text, facts, style))


@cache
def _examples(code: str, length: Length) -> list[tuple[str, str]]:
    return [(note(item, code), HEADLINE.fallback(item, Style(code, length=length))) for item in INVENTED]


def note(facts: ItemFacts, code: str) -> str:
    """The facts that a prompt shows of an item: "Oslo Kettle | kettles, kitchen product | Fjordal"; cleaned, one line."""
    what = f"{', '.join(labels_in(facts, code))} {noun_in(facts, code)[1]}"
    year = str(facts.year) if facts.year else ""
    return " | ".join(part for part in (facts.names[0] if facts.names else "", what, brand_of(facts), year) if part)


HEADLINE = Headline()
