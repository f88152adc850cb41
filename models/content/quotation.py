"""Which sentence of its own description an item is described with, word for word.

Only one that the checker has nothing against: no order, link, price, praise or word to the reader is in it. Of those it is one
that stands alone, is about the item (not about its maker) and says what the title does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from models.content.grammar import SPECIFIED, has_verb, leads
from models.content.kind import ItemFacts, Style, Violation
from models.content.language import word_set
from models.content.naming import brand_of
from models.content.support import quotable
from models.content.titles import spoken
from models.content.words import COMMON, FUNCTION_WORDS, LEADS, QUOTED_VERBS

SENTENCE_GAP = re.compile(r"(?<=[.!?])\s+|[\n;]+")
READ_CHARS = 3000
MIN_CHARS, MAX_CHARS = 20, 220
MAX_DIGITS = 60  # more are a list of model numbers, and each takes a token
MAX_TRIED = 8  # sentences: a check takes a millisecond or two
NEWS, NEWS_SHARE = 2, 0.3  # words that the title and the brand have not: fewer say no more than the title
MIN_WORD_CHARS = 3
NOT_ABOUT = 4  # see _rank
SIGNS = re.compile(r"[\w\s,.()/&'\"#%+:°×®™½¼¾’“”–-]+")
# "CardsThe cards", "2, when it": two sentences that lost what stood between them.
GLUED = re.compile(r"[a-z]{3}[A-Z][a-z]{2}|[A-Z]{3}[a-z]{3}|^\d+[,)]|\s,|[a-z],[a-z]")
# "The tape is 3 in." is cut off in the middle, "They also come in red." speaks of something else.
CUT_OFF = re.compile(
    r"\b(?:dr|mr|mrs|st|in|ft|oz|lb|approx|no|inc|ltd|vs|etc|e\.g|i\.e|ca|bzw|z\.B|[^\W\d])\.$", re.IGNORECASE
)
TITLE = re.compile(r"\b(?:dr|mr|mrs|st|no|vs|co|inc|ltd)\.$", re.IGNORECASE)  # what follows is no beginning
NO_BEGINNING = word_set(
    "they them that those then also and but or so plus however therefore thus furthermore additionally here there both "
    "another others other such because while when if for with as in by he she we no not why what how who did do does behind "
    "use rely spread enjoy keep get make choose ensure store add set create protect take turn try simply just up to "
    "sie und aber oder auch dann dort jene außerdem zudem dazu deshalb damit wenn weil für mit"
)
OF_THE_ITEM = word_set(
    "this these it its it's each comes made includes features holds measures fits "
    "dies diese dieser dieses es er jede jeder jedes mit"
)
OF_ITS_PARTS = word_set("the two three four der die das zwei drei vier")
# Of its maker, of how it is sold, or plain advertising.
NOT_OF_THE_ITEM = word_set(
    "company founded headquartered mission committed dedicated manufacturer customers employees since maker inventor brand name "
    "manufacturing marketing innovative upc asin sku vary trademark trademarks warranty sold shipped imported pictures "
    "pictured shown affordable inexpensive economical joy magically delight genius unmistakable unsurpassed exquisite "
    "whatever proud youll youre fact firma gegründet unternehmen hersteller kunden seit"
)

# Everything that a choice depends on but the checker: a change of it changes what is written, as one of a prompt does.
LISTS = (NO_BEGINNING, OF_THE_ITEM, OF_ITS_PARTS, NOT_OF_THE_ITEM, QUOTED_VERBS, LEADS)
PATTERNS = (SENTENCE_GAP, SIGNS, GLUED, CUT_OFF, TITLE)
NUMBERS = (READ_CHARS, MIN_CHARS, MAX_CHARS, MAX_DIGITS, MAX_TRIED, NEWS, NEWS_SHARE, MIN_WORD_CHARS)
CHOICE = ([sorted(words) for words in LISTS], [one.pattern for one in PATTERNS], NUMBERS)

Check = Callable[[str, ItemFacts, Style], list[Violation]]


def sentence(facts: ItemFacts, style: Style, head: str, check: Check) -> str:
    """The sentence of the description that may stand behind `head` in a text; "" where none may, or a short text is asked for."""
    if style.length == "short":
        return ""
    key = ("sentence", style.code(facts), head)
    if key not in facts.derived:
        facts.derived[key] = _sentence(facts, style, head, check)
    found: str = facts.derived[key]
    return found


def news(text: str, facts: ItemFacts) -> frozenset[str]:
    """The words of `text` that say something and that neither the item's title nor its brand has, without a plural's s."""
    known = _said(f"{facts.title} {brand_of(facts)}")
    return _said(text) - known


def _said(text: str) -> frozenset[str]:
    return frozenset(
        word.removesuffix("s")
        for word in spoken(text)
        if (len(word) >= MIN_WORD_CHARS or word.isdecimal()) and word not in COMMON and word not in FUNCTION_WORDS
    )


def _sentence(facts: ItemFacts, style: Style, head: str, check: Check) -> str:
    if not quotable(facts.description):
        return ""
    parts = [_ended(part.strip()) for part in SENTENCE_GAP.split(facts.description[:READ_CHARS])]
    begun = (part for before, part in pairwise(["", *parts]) if not TITLE.search(before))
    whole = sorted((part for part in begun if _stands_alone(part, facts)), key=lambda part: _rank(part, facts))
    return next((part for part in whole[:MAX_TRIED] if not check(f"{head} {part}", facts, style)), "")


def _ended(part: str) -> str:
    """With a full stop: the last words of a description often have none."""
    part = part.rstrip("!")
    return part if not part or part[-1] in ".:,?…" else f"{part}."


def _stands_alone(part: str, facts: ItemFacts) -> bool:
    """Whether a part of a description looks like a sentence that can stand alone, is about the item and says something."""
    words = spoken(part)
    return (
        MIN_CHARS <= len(part) <= MAX_CHARS
        and part.endswith(".")
        and SIGNS.fullmatch(part) is not None
        and sum(map(str.isdigit, part)) <= MAX_DIGITS
        and part.count("(") == part.count(")")
        and (part[0].isupper() or part[0].isdigit())
        and not part.isupper()
        and not CUT_OFF.search(part)
        and all(found.group() in facts.title for found in GLUED.finditer(part))
        and NOT_OF_THE_ITEM.isdisjoint(words)
        and words[0] not in NO_BEGINNING
        and _rank(part, facts) < NOT_ABOUT
        and len(news(part, facts)) >= max(NEWS, NEWS_SHARE * len(_said(part)))
    )


def _rank(part: str, facts: ItemFacts) -> int:
    """How plainly it is about the item, 0 the most: it has a word of the title ("Labels stick to glass." of "Round Labels");
    begins with "It" and the like, or with a verb or an adjective that can only be the item's ("Writes on glass.", "Made of
    steel."); with a part of it; it says one measure ("Capacity: 175 sheets.")."""
    first, *rest = words = spoken(part)
    verb = has_verb(words)
    shares = not (_said(facts.names[0]) - _said(brand_of(facts))).isdisjoint(_said(part))
    if verb and shares:
        return 0
    if (first.endswith("s") and first in QUOTED_VERBS) or leads(first) or first in OF_THE_ITEM:
        return 1
    if verb and rest and first in OF_ITS_PARTS:
        return 2
    measured = SPECIFIED.match(part) and any(word[0].isdigit() for word in rest)
    return 3 if shares or measured else NOT_ABOUT
