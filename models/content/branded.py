"""How a thing of a shop is described: its title, its brand once, and a sentence of its own description, word for word.

Only a sentence that passes the checker beside the name enters a prompt (see quotation.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from models.content.kind import ItemFacts, Style, Violation
from models.content.naming import brand_of, noun_in, unbranded
from models.content.prompting import few_shot, one_of, told
from models.content.quotation import Check, sentence
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


def writable(facts: ItemFacts) -> bool:
    """Whether there is a brand to describe the item by."""
    return bool(brand_of(facts))


def prompt(facts: ItemFacts, style: Style, rejected: Sequence[Sequence[Violation]], check: Check) -> Prompt:
    """Examples, then the item's name, brand and, where one may be said, a sentence of its description."""
    code = style.code(facts)
    first = hashlib.sha256(facts.item.encode()).digest()[0]
    wording = WORDINGS[code][(first + len(rejected)) % len(WORDINGS[code])]
    said = said_of(facts, style, check)
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


def said_of(facts: ItemFacts, style: Style, check: Check) -> str:
    """The sentence of the description that is said behind the item's name; "" where there is none (see quotation.py)."""
    return sentence(facts, style, _filled(WORDINGS[style.code(facts)][0], facts, style.code(facts), "", ""), check)


def _filled(wording: str, facts: ItemFacts, code: str, said: str, gap: str) -> str:
    a, noun = noun_in(facts, code)
    text = wording.format(name=unbranded(facts) or facts.names[0], a=a, noun=noun, brand=brand_of(facts))
    return f"{text}{gap}{said}" if said else text
