"""The kind "theme": a title for a group of items, of what is true of every one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, cached_property

from core.settings import Length
from models.content import german
from models.content.description import listed
from models.content.facts import LANGUAGES, Form, check_items
from models.content.kind import PLAIN, ItemFacts, ItemsFacts, Probe, Style, Violation
from models.content.naming import brand_of, decade, labels_in, noun_in, role
from models.content.prompting import INVENTED, few_shot, hash_of, told, tried
from models.content.titles import plain
from models.text.generator import Prompt

SYSTEM = {
    "en": "You write a title of at most six words for a list of items from what they have in common, and nothing else.",
    "de": "Du schreibst einen deutschen Titel für eine Liste aus dem, was ihre Artikel gemeinsam haben, und sonst nichts.",
}
UNIVERSAL = {"en": "A selection", "de": "Eine Auswahl"}
PHRASES = {"en": ("more", "by", "about", "to", "and more"), "de": ("mehr", "und mehr", "rund um")}
FORM = Form(
    60, max_sentences=1, prose=False, named=False, phrases=PHRASES, scope="all", counted=True, decades=True,
)  # fmt: skip


class Theme:
    """What a group of items has in common, as a title."""

    name = "theme"
    facts_type = ItemsFacts
    max_tokens = 24
    stop = ("\n",)

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        return hash_of(self.name, SYSTEM, _examples("en", "medium"))

    def probes(self, style: Style) -> list[Probe[ItemsFacts]]:
        """Groups of invented items with a category, a year or a brand in common."""
        made = []
        for n, one in enumerate(tried()):
            item = one.facts
            twin = ItemFacts.of(f"t{n}", f"Twin {chr(65 + n)}", item.categories[:1], item.attributes)
            made.append(Probe(ItemsFacts((item, twin), "en", f"g{n}"), shop=one.shop))
        return made

    def writable(self, facts: ItemsFacts, style: Style) -> str | None:
        """Why a model is not asked: no grammar of the language, or nothing in common."""
        if style.code(facts) not in LANGUAGES:
            return f"there is no grammar here for {style.locale or facts.locale!r}"
        return None if _note(facts, style.code(facts)) else "the items have nothing in common that could be said"

    def prompt(self, facts: ItemsFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """What all have in common, with examples; no title or description of an item enters."""
        code = style.code(facts)
        return few_shot(told(SYSTEM[code], style, code), _examples(code, style.length), _note(facts, code), rejected)

    def check(self, text: str, facts: ItemsFacts, style: Style = PLAIN) -> list[Violation]:
        """Every category, year, decade and attribute named is true of all the items."""
        if text == UNIVERSAL.get(style.code(facts), "–"):
            return []
        return check_items(text, facts.items, FORM, style.locale or facts.locale)

    def fallback(self, facts: ItemsFacts, style: Style = PLAIN) -> str:
        """ "Crime and thriller films from 1995", "Acme", "A selection"."""
        code = style.code(facts)
        texts = [*_titles(facts, code, style.length), UNIVERSAL.get(code, "–")]
        return next(text for text in texts if not self.check(text, facts, style))


def common(facts: ItemsFacts, code: str) -> tuple[tuple[str, ...], str, str, str]:
    """(categories, plural noun, "1995" or its decade, brand or material) that all items share; "" and () where none."""
    items = facts.items
    labels = [labels_in(item, code) for item in items]
    shared = tuple(label for label in labels[0] if all(label in other for other in labels)) if labels else ()
    nouns = {noun_in(item, code)[1] for item in items if item.noun != "title"}
    years = {item.year for item in items}
    decades = {decade(item.year, code)[-1] for item in items if item.year}
    made = {brand_of(item) for item in items}
    material = {_attribute(item, "material") for item in items}
    noun = _plural(next(iter(nouns)), code) if len(nouns) == 1 and len(items) > 0 else ""
    same_year = len(years) == 1 and None not in years
    when = str(next(iter(years))) if same_year else ""
    if not same_year and len(decades) == 1 and None not in years:
        when = " ".join(next(iter(decades)))
    by = next((values.copy().pop() for values in (made, material) if len(values) == 1 and "" not in values), "")
    return shared, noun, when, by


def _attribute(item: ItemFacts, wanted: str) -> str:
    values = (plain(str(value), 40) for name, value in item.attributes.items() if role(name) == wanted)
    return next(values, "")


def _plural(noun: str, code: str) -> str:
    if code == "de":
        return next((forms[0].capitalize() for _, one, forms in german.NOUNS.values() if one == noun), noun)
    return f"{noun}s"


def _titles(facts: ItemsFacts, code: str, length: Length) -> Iterator[str]:
    labels, noun, when, by = common(facts, code)
    if length == "short":
        labels, when = labels[:1], "" if labels or noun else when
    said = listed(labels[:3], code)
    german_text = code == "de"
    dated = {"de": f"aus dem Jahr {when}" if when.isdigit() else f"der {when.replace('jahre', 'Jahre')}"}.get(
        code, f"from {when}" if when.isdigit() else f"of the {when}"
    )
    end = f" {dated}" if when and code in LANGUAGES else ""
    what = said if german_text or not noun else f"{said} {noun}"
    whole = [f"{what}{end}", what, f"{said}{end}", said] if said else []
    if noun and not said:
        whole += [f"{noun}{end}"]
    if by:
        whole += [f"{text} {'von' if german_text else 'by'} {by}" for text in (said, noun) if text]
        whole.append(by)
    yield from (text[0].upper() + text[1:] for text in whole)


def _note(facts: ItemsFacts, code: str) -> str:
    labels, noun, when, by = common(facts, code)
    return " | ".join(part for part in (", ".join(labels[:3]), noun, when, by) if part)


@cache
def _examples(code: str, length: Length) -> list[tuple[str, str]]:
    groups = [ItemsFacts((item, ItemFacts.of("x", "Twin", item.categories[:2], item.attributes))) for item in INVENTED]
    return [(_note(group, code), next(_titles(group, code, length), UNIVERSAL[code])) for group in groups]


THEME = Theme()
