"""The checker: may this text be published about these items? Deterministic, offline, and it says why not (DESIGN I6).

It allows rather than forbids. Every word must have the support of a fact or be one of the few that claim nothing (see
support.py). So a claim nobody thought of is refused like any other: a list of forbidden words would let "a dark sense of
humor" pass for a comedy. Then grammar.py looks at what the order of the words claims, and binding.py at which item they
speak of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.content import binding, grammar
from models.content.german import GERMAN
from models.content.kind import ItemFacts, Violation
from models.content.language import Language, base, detected
from models.content.support import About, Token, tagged
from models.content.titles import folded, straight
from models.content.words import ENGLISH, INSTRUCTION, LINK, MARKUP

LANGUAGES: Mapping[str, Language] = {"en": ENGLISH, "de": GERMAN}
NAMES_OF = {"en": "English", "de": "German"}

PLAIN = r"[\s.,;:()'\"/&-]"
MAX_CLAIM_CHARS = 80

REASONS = {
    "negation": "says what the item is not, which no fact states",
    "superlative": "praises or ranks, which no fact states",
    "award": "claims an award, which no fact states",
    "price": "claims a price, which no fact states",
    "number": "is a number in no fact",
    "name": "is a name in no fact",
    "claim": "is in no fact",
    "addressing": "speaks to the reader",
}


@dataclass(frozen=True, slots=True)
class Form:
    """The outer limits of a kind's texts, and the words of its own.

    `prose`: whole sentences in a strict grammar; else a line such as a title. `named`: an item must be named. `marks`:
    punctuation besides the plain, as the inside of a regex class. `phrases`: by language, words of the kind that claim
    nothing. `scope` and `subject`: see binding.check. `counted` and `decades`: see support.About.
    """

    max_chars: int = 300
    max_sentences: int = 2
    prose: bool = True
    named: bool = True
    marks: str = ""
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scope: binding.Scope = "any"
    subject: int | None = None
    counted: bool = False
    decades: bool = False


def check(text: str, facts: ItemFacts, form: Form = Form(), locale: str | None = None) -> list[Violation]:
    """Every violation in a text about one item; see check_items."""
    return [] if text == universal(facts) else check_items(text, (facts,), form, locale or facts.locale)


def check_items(
    text: str, items: Sequence[ItemFacts], form: Form, locale: str,
    claims: Mapping[str, frozenset[int]] | None = None,
) -> list[Violation]:  # fmt: skip
    """Every violation in `text`, in order of position; empty means that nothing in it goes beyond what `items` state.

    `locale` is the language it must be in. English and German have a grammar here; of any other language a text is a list of
    names, years, categories and attributes. `claims` are phrases that are true of some items only (see support.About).
    """
    if not text.strip() or len(text) > form.max_chars:
        reason = f"is {len(text)} characters long; 1 to {form.max_chars} are allowed"
        return [Violation((0, len(text)), text[:MAX_CLAIM_CHARS], reason, "form")]
    text = straight(text)
    language = LANGUAGES.get(base(locale))
    phrases = form.phrases.get(language.code, ()) if language else ()
    about = About(tuple(items), language, phrases, claims or {}, form.counted, form.decades)
    tokens = tagged(text, about)
    found = [*outside(text), *_between(text, tokens, about, form), *_unsupported(tokens, about)]
    found += other_language(text, [token.word for token in tokens if token.tag != "title"], language)
    found += binding.check(text, tokens, items, form.scope, form.subject)
    if language is not None and form.prose:
        found += grammar.prose(text, tokens, items[0], form.max_sentences, language)
    else:
        found += grammar.line(text, tokens, items, form.named, form.max_sentences, language)
    return ordered(found)


def ordered(found: Sequence[Violation]) -> list[Violation]:
    """Without doubles, by position, long claims cut."""
    cut = [
        replace(v, claim=v.claim[: MAX_CLAIM_CHARS - 1] + "…") if len(v.claim) > MAX_CLAIM_CHARS else v for v in found
    ]
    return sorted(dict.fromkeys(cut), key=lambda violation: (violation.span, violation.rule))


def universal(facts: ItemFacts) -> str:
    """The one English sentence that is true of every item, whatever its title does to any other."""
    return f"This {facts.noun} is part of this catalogue."


def is_english(locale: str) -> bool:
    """Whether `locale` ("en", "en-GB", "EN_us") is English; an empty one is taken for it."""
    return base(locale) == "en"


def outside(text: str) -> Iterator[Violation]:
    """Control characters, links, markup, instructions: whatever stands, it is refused."""
    for position, character in enumerate(text):
        if not character.isprintable():
            yield Violation((position, position + 1), character, "is a control or invisible character", "form")
    for pattern, reason, rule in (
        (LINK, "is a link or an address", "link"), (MARKUP, "is markup", "markup"),
        (INSTRUCTION, "speaks to or as a language model", "instruction"),
    ):  # fmt: skip
        for match in pattern.finditer(text):
            yield Violation(match.span(), match.group(), reason, rule)
    if INSTRUCTION.search(folded(text)) and not INSTRUCTION.search(text):
        reason = "speaks to or as a language model, in disguised letters"
        yield Violation((0, len(text)), text, reason, "instruction")


def other_language(text: str, words: list[str], language: Language | None) -> Iterator[Violation]:
    """A text in another language than the one asked for, as far as its small words tell."""
    found = detected(words, LANGUAGES)
    if language is not None and found is not None and found != language.code:
        reason = f"is in {NAMES_OF[found]}; {NAMES_OF[language.code]} was asked for"
        yield Violation((0, len(text)), text, reason, "language")


def _between(text: str, tokens: list[Token], about: About, form: Form) -> Iterator[Violation]:
    """Outside words only plain punctuation is allowed, and a sign that a fact writes just so ("49,90 €")."""
    plain = re.compile(rf"{PLAIN[:-1]}{form.marks}]")
    stated = [straight(str(value)) for item in about.items for value in item.attributes.values()]
    as_stated = [
        m.span() for value in stated if value and not value.isalnum() for m in re.finditer(re.escape(value), text)
    ]
    position = 0
    for token in (*tokens, None):
        end = token.start if token else len(text)
        rest = "".join(c if c.isprintable() and not plain.match(c) else " " for c in text[position:end])
        for match in re.finditer(r"\S+", rest):
            span = (position + match.start(), position + match.end())
            if any(start <= span[0] and span[1] <= stop for start, stop in as_stated):
                continue
            rule = "price" if any(sign in match.group() for sign in "$€£¥%") else "form"
            yield Violation(
                span, match.group(), REASONS["price"] if rule == "price" else "is no plain punctuation", rule
            )
        position = token.end if token else end


def _unsupported(tokens: list[Token], about: About) -> Iterator[Violation]:
    """One violation for each run of neighbouring unsupported words that make the same kind of claim."""
    run: list[Token] = []
    rule = ""
    for token in (*tokens, None):
        claim = _claim(token, about.language) if token and token.tag == "" else ""
        if run and (claim != rule or token is None):
            yield _explained(run, rule, about.items)
            run = []
        if token and claim:
            run.append(token)
        rule = claim


def _claim(token: Token, language: Language | None) -> str:
    if any(character.isdigit() for character in token.word):
        return "number"
    language = language or ENGLISH
    if token.word in language.addressing:
        return "addressing"
    for rule, words in language.claims.items():
        if token.word in words or token.word.removesuffix("'s") in words:
            return rule
    return "name" if token.raw[0].isupper() else "claim"


def _explained(run: list[Token], rule: str, items: Sequence[ItemFacts]) -> Violation:
    claim = " ".join(token.raw for token in run)
    reason = REASONS.get(rule, "")
    if rule == "category":
        labels = dict.fromkeys(label for item in items for label in item.labels)
        whose = "its categories" if len(items) == 1 else "their categories"
        reason = f"is not one of {whose} ({', '.join(labels) or 'there is none'})"
    elif rule == "number" and len(items) == 1 and items[0].year is not None:
        reason = f"is a number in no fact; the year is {items[0].year}"
    return Violation((run[0].start, run[-1].end), claim, reason, rule)
