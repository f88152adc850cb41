"""How an item without categories is described: its name, its brand and one sentence of its own description, word for word.

Only a sentence that would pass the checker beside the name enters a prompt: no order, link, price, praise or word to the
reader does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from models.content.kind import ItemFacts, Style, Violation
from models.content.naming import brand_of, noun_in
from models.content.prompting import few_shot, one_of, told
from models.content.support import quotable
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
WORDINGS = {
    "en": (
        "{name} is {a} {noun} by {brand}.",
        "By {brand}, {name} is {a} {noun}.",
        "{name} is {a} {noun} of the brand {brand}.",
    ),
    "de": ("{name} ist {a} {noun} von {brand}.", "{name} ist {a} {noun} der Marke {brand}."),
}
SENTENCE_GAP = re.compile(r"(?<=[.!?])\s+|[\n;]+")
READ_CHARS = 2000
MIN_CHARS, MAX_CHARS = 20, 120
MAX_TRIED = 8  # sentences: a check takes a millisecond or two

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
    pattern = one_of(heads) + (f"{one_of((f' {said}',))}?" if said else "") if heads else ""
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
    whole = [part for part in parts if MIN_CHARS <= len(part) <= MAX_CHARS and part.endswith(".") and "|" not in part]
    return next((part for part in whole[:MAX_TRIED] if not check(f"{name} {part}", facts, style)), "")


def _filled(wording: str, facts: ItemFacts, code: str, said: str, gap: str) -> str:
    a, noun = noun_in(facts, code)
    text = wording.format(name=facts.names[0], a=a, noun=noun, brand=brand_of(facts))
    return f"{text}{gap}{said}" if said else text
