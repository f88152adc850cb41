"""How an item without categories is described: its title, its brand once, and a sentence of its own description, word for word.

Only a sentence that would pass the checker beside the name enters a prompt: no order, link, price, praise or word to the
reader does. Of those it is one about the item (see `sentence`), not about its maker.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from models.content.kind import ItemFacts, Style, Violation
from models.content.language import word_set
from models.content.naming import brand_of, noun_in, unbranded
from models.content.prompting import few_shot, one_of, told
from models.content.support import quotable
from models.content.titles import spoken
from models.text.generator import Prompt

SYSTEM = {
    "en": "You turn a note about a {noun} into a description with the same facts, word for word, and nothing else.",
    "de": "Du machst aus einer Notiz eine deutsche Beschreibung mit denselben Angaben, Wort für Wort, und sonst nichts.",
}
# Names as shops write them: a small model copies numbers and brackets when it has seen some copied.
EXAMPLES = (
    ("Oslo Kettle 1.7 L, White", "Fjordal", {"en": "It includes a removable filter.", "de": "Der Filter ist abnehmbar."}),
    (
        "Marlow Desk Tray, 3 Tiers (Pack of 2)", "Pagewell",
        {"en": "The trays are made of steel.", "de": "Die Ablage ist aus Stahl."},
    ),
    ("Trail Pot 24 cm - Green", "Acmeco", {"en": "The lid is made of glass.", "de": "Der Deckel ist aus Glas."}),
    (
        "Birch & Vale Calendar 12 x 9 Inches (77042)", "Northlight",
        {"en": "Each page shows one month.", "de": "Jede Seite zeigt einen Monat."},
    ),
)  # fmt: skip
NOTE = {"en": "{name} | {a} {noun} by {brand}", "de": "{name} | {a} {noun} von {brand}"}
# Which wording an item gets depends on its id; a retry takes the next one.
# No verb: titles of things are as often plural as singular.
WORDINGS = {
    "en": ("{name}, from {brand}.", "From {brand}: {name}."),
    "de": ("{name}, von {brand}.", "Von {brand}: {name}."),
}
SENTENCE_GAP = re.compile(r"(?<=[.!?])\s+|[\n;]+")
READ_CHARS = 2000
MIN_CHARS, MAX_CHARS = 20, 160
MAX_TRIED = 8  # sentences: a check takes a millisecond or two
# "The tape is 3 in." is cut off in the middle, "They also come in red." speaks of something else.
CUT_OFF = re.compile(r"\b(?:in|ft|oz|lb|approx|no|inc|ltd|vs|etc|e\.g|i\.e|ca|bzw|z\.B|\w)\.$", re.IGNORECASE)
NO_BEGINNING = word_set(
    "they them that those then also and but or so plus however therefore thus furthermore additionally here there both "
    "another others other such because while when if for with as in by he she we no not sie und aber oder auch dann dort jene "
    "außerdem zudem dazu deshalb damit wenn weil für mit"
)
OF_THE_ITEM = word_set(
    "this these it its each comes made includes features holds measures fits "
    "dies diese dieser dieses es er jede jeder jedes mit"
)
OF_THE_MAKER = word_set(
    "company founded headquartered mission committed dedicated manufacturer customers employees since "
    "firma gegründet unternehmen hersteller kunden seit"
)

Check = Callable[[str, ItemFacts, Style], list[Violation]]


def writable(facts: ItemFacts) -> bool:
    """Whether there is a brand to describe the item by."""
    return bool(brand_of(facts))


def prompt(facts: ItemFacts, style: Style, rejected: Sequence[Sequence[Violation]], check: Check) -> Prompt:
    """Examples, then the item's name, brand and, where one may be said, a sentence of its description."""
    code = style.code(facts)
    first = hashlib.sha256(facts.item.encode()).digest()[0]
    wording = WORDINGS[code][(first + len(rejected)) % len(WORDINGS[code])]
    said = sentence(facts, style, check)
    examples = []
    for name, brand, say in EXAMPLES:
        one = ItemFacts.of("e", name, (), {"type": facts.noun, "brand": brand})
        shown = say[code] if said else ""
        examples.append((_filled(NOTE[code], one, code, shown, " | "), _filled(wording, one, code, shown, " ")))
    system = told(SYSTEM[code].format(noun=facts.noun), style, code)
    heads = [_filled(one, facts, code, "", "") for one in WORDINGS[code]]
    heads = [head for head in heads if not check(head, facts, style)]
    pattern = one_of(f"{head} {said}" if said else head for head in heads) if heads else ""
    return few_shot(system, examples, _filled(NOTE[code], facts, code, said, " | "), rejected, pattern)


def sentence(facts: ItemFacts, style: Style, check: Check) -> str:
    """The first sentence of the description that may stand behind the item's name; "" where none may."""
    code = style.code(facts)
    if ("sentence", code) not in facts.derived:
        facts.derived["sentence", code] = _sentence(facts, style, check)
    found: str = facts.derived["sentence", code]
    return found


def _sentence(facts: ItemFacts, style: Style, check: Check) -> str:
    code = style.code(facts)
    if style.length == "short" or not quotable(facts.description):
        return ""
    name = _filled(WORDINGS[code][0], facts, code, "", "")
    parts = (part.strip() for part in SENTENCE_GAP.split(facts.description[:READ_CHARS]))
    whole = sorted((part for part in parts if _is_about(part, facts)), key=lambda part: not _shares(part, facts))
    return next((part for part in whole[:MAX_TRIED] if not check(f"{name} {part}", facts, style)), "")


def _is_about(part: str, facts: ItemFacts) -> bool:
    """Whether a part of a description looks like a sentence that can stand alone and is about the item."""
    words = spoken(part)
    return (
        MIN_CHARS <= len(part) <= MAX_CHARS
        and part.endswith(".")
        and "|" not in part
        and part.count("(") == part.count(")")
        and (part[0].isupper() or part[0].isdigit())
        and not CUT_OFF.search(part)
        and OF_THE_MAKER.isdisjoint(words)
        and words[:1] != ()
        and words[0] not in NO_BEGINNING
        and (words[0] in OF_THE_ITEM or _shares(part, facts))
    )


def _shares(part: str, facts: ItemFacts) -> bool:
    """Whether it has a word of the title besides the brand ("Labels stick to glass." of "Round Labels")."""
    title, brand = (
        {word.removesuffix("s") for word in spoken(text) if len(word) > 3} for text in (facts.names[0], brand_of(facts))
    )
    return not (title - brand).isdisjoint(word.removesuffix("s") for word in spoken(part))


def _filled(wording: str, facts: ItemFacts, code: str, said: str, gap: str) -> str:
    a, noun = noun_in(facts, code)
    text = wording.format(name=unbranded(facts) or facts.names[0], a=a, noun=noun, brand=brand_of(facts))
    return f"{text}{gap}{said}" if said else text
