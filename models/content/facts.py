"""The checker: may this text be published about this item? Deterministic, offline, and it says why not (DESIGN I6).

It allows rather than forbids. Every word must be the item's name, one of its categories (or a form of one), its year, a
stated attribute, words of its description in their order, or one of the few words that claim nothing. So a claim nobody
thought of is refused like any other: a list of forbidden words would let "a dark sense of humor" pass for a comedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from models.content import grammar
from models.content.grammar import Token
from models.content.kind import ItemFacts, Violation
from models.content.titles import WORD, spoken, straight
from models.content.words import (
    ADDRESSING,
    CATEGORY_FORMS,
    CLAIMS,
    FUNCTION_WORDS,
    INSTRUCTION,
    LINK,
    MARKUP,
    PART_OF,
    SAME_NOUN,
)  # fmt: skip

PLAIN = re.compile(r"[\s.,;:()'\"/&-]")
JOINED = re.compile(r"[\s/&-]*")
MAX_CLAIM_CHARS = 80
MIN_QUOTE_WORDS = 2  # of a description, fewer words in a row could mean anything

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
    """The outer limits of a kind's texts."""

    max_chars: int = 300
    max_sentences: int = 2


def check(text: str, facts: ItemFacts, form: Form = Form()) -> list[Violation]:
    """Every violation in `text`, in order of position; empty means that nothing in it goes beyond `facts`.

    The words of the allow-list are English. Facts in another language support their own name, year, categories and
    attributes only, so a text in that language is a list of those.
    """
    if text == universal(facts):
        return []
    if not text.strip() or len(text) > form.max_chars:
        reason = f"is {len(text)} characters long; 1 to {form.max_chars} are allowed"
        return [Violation((0, len(text)), text[:MAX_CLAIM_CHARS], reason, "form")]
    text = straight(text)
    english = is_english(facts.locale)
    tokens = _tagged(text, facts, english)
    found = [*_outside(text), *_between(text, tokens), *_unsupported(tokens, facts)]
    if english:
        found += grammar.check(text, tokens, facts, form.max_sentences)
    elif facts.names and not any(token.tag == "title" for token in tokens):
        found.append(Violation((0, len(text)), text, f'does not name the item "{facts.names[0]}"', "title"))
    found = [
        replace(v, claim=v.claim[: MAX_CLAIM_CHARS - 1] + "…") if len(v.claim) > MAX_CLAIM_CHARS else v for v in found
    ]
    return sorted(dict.fromkeys(found), key=lambda violation: (violation.span, violation.rule))


def universal(facts: ItemFacts) -> str:
    """The one English sentence that is true of every item, whatever its title does to any other."""
    return f"This {facts.noun} is part of this catalogue."


def is_english(locale: str) -> bool:
    """Whether `locale` ("en", "en-GB", "EN_us") is English; an empty one is taken for it."""
    return re.split(r"[-_]", locale.lower())[0] in ("", "en", "eng")


def _outside(text: str) -> Iterator[Violation]:
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


def _between(text: str, tokens: list[Token]) -> Iterator[Violation]:
    """Outside words only plain punctuation is allowed."""
    position = 0
    for token in (*tokens, None):
        end = token.start if token else len(text)
        rest = "".join(c if c.isprintable() and not PLAIN.match(c) else " " for c in text[position:end])
        for match in re.finditer(r"\S+", rest):
            span = (position + match.start(), position + match.end())
            rule = "price" if any(sign in match.group() for sign in "$€£¥%") else "form"
            reason = REASONS["price"] if rule == "price" else "is no plain punctuation"
            yield Violation(span, match.group(), reason, rule)
        position = token.end if token else end


def _tagged(text: str, facts: ItemFacts, english: bool) -> list[Token]:
    """The words of `text`, each with what supports it; the item's name, a category or a quotation is one token."""
    tokens = _name_marked(text, facts)
    phrases = _phrases(facts, english)
    quotable = _Quotable(facts)
    single = _single_words(facts, english)
    tagged: list[Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        length = 1
        if token.tag == "":
            length, tag, fact = _longest(text, tokens, index, phrases)
            if length == 0 and token.word in single:
                length, tag, fact = 1, single[token.word], ""
            if length == 0 and (run := quotable.run(tokens, index)):
                length, tag, fact = run, "fact", "description"
            length = max(length, 1)
            last = tokens[index + length - 1]
            token = Token(
                text[token.start : last.end].lower(), text[token.start : last.end], token.start, last.end, tag, fact
            )
        tagged.append(token)
        index += length
    return tagged


def _name_marked(text: str, facts: ItemFacts) -> list[Token]:
    """All words; each mention of the item's name is one token of tag "title"."""
    names = sorted((straight(name) for name in facts.names), key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in names)
    spans = [m.span() for m in re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", text)] if names else []
    tokens = [Token(text[start:end].lower(), text[start:end], start, end, "title", "") for start, end in spans]
    for match in WORD.finditer(text):
        if not any(start < match.end() and match.start() < end for start, end in spans):
            tokens.append(Token(match.group().lower(), match.group(), *match.span(), "", ""))
    return sorted(tokens, key=lambda token: token.start)


def _single_words(facts: ItemFacts, english: bool) -> dict[str, str]:
    words: dict[str, str] = {}
    if english:
        for noun in (facts.noun, "title", *SAME_NOUN.get(facts.noun, ())):
            words |= {noun: "noun", f"{noun}s": "noun"}
    if facts.year is not None:
        words[str(facts.year)] = "year"
    return words


def _phrases(facts: ItemFacts, english: bool) -> dict[tuple[str, ...], tuple[str, str]]:
    """Words in order -> (tag, fact): the categories in their forms, attributes beside their names, neutral phrases."""
    phrases: dict[tuple[str, ...], tuple[str, str]] = {}
    if english:
        phrases |= {tuple(words.split()): ("function", "") for words in PART_OF}
    for name, value in facts.attributes.items():
        said, key = spoken(str(value)), spoken(name.replace("_", " "))
        if not said or not key or key in (("type",), ("year",)):
            continue
        ways = [(*key, *said), (*said, *key), (*key, "of", *said), (*key, "is", *said)]
        if key == ("brand",):
            ways += [said, ("by", *said), ("from", *said)]
        phrases |= dict.fromkeys(ways, ("fact", name))
    for label in facts.labels:
        phrases |= dict.fromkeys(_forms(label), ("category", label))
    return phrases


def _forms(label: str) -> set[tuple[str, ...]]:
    """A category's phrase, its parts around "&" and "/", their plurals or singulars, and the forms known to say the same."""
    forms: set[tuple[str, ...]] = set()
    for part in (label, *re.split(r"[&/,>|]|\band\b", label)):
        words = spoken(part)
        if not words or (part != label and all(word in FUNCTION_WORDS for word in words)):
            continue
        *head, last = words
        known = CATEGORY_FORMS.get(" ".join(words), ())
        forms |= {words, *((*head, form) for form in _numbers(last)), *(spoken(form) for form in known)}
    return forms


def _numbers(word: str) -> set[str]:
    """Plural or singular of an English noun, where that is safe: "comedy" -> "comedies", "Electronics" -> "electronic"."""
    if "'" in word or len(word) < 3:
        return set()
    if word.endswith("ies") and len(word) > 5:
        return {word[:-3] + "y"}
    if word.endswith("s"):
        return {word[:-1]} if len(word) > 5 and not word.endswith(("ss", "us", "is")) else set()
    if word.endswith("y") and word[-2] not in "aeiou":
        return {word[:-1] + "ies"}
    return {word + ("es" if word.endswith(("x", "z", "ch", "sh")) else "s")}


def _longest(
    text: str, tokens: list[Token], index: int, phrases: dict[tuple[str, ...], tuple[str, str]]
) -> tuple[int, str, str]:
    """The longest phrase that begins at `index`: (words, tag, fact), or (0, "", "")."""
    best = (0, "", "")
    words: list[str] = []
    for offset, token in enumerate(tokens[index : index + max(map(len, phrases), default=0)]):
        if token.tag or (offset and not JOINED.fullmatch(text, tokens[index + offset - 1].end, token.start)):
            break
        words.append(token.word)
        if tuple(words) in phrases:
            best = (offset + 1, *phrases[tuple(words)])
    return best


class _Quotable:
    """A description's words that a text may repeat in their order: no praise, prize, price or negation among them."""

    def __init__(self, facts: ItemFacts) -> None:
        unsafe = INSTRUCTION.search(facts.description) or LINK.search(facts.description)
        self._words = () if unsafe else spoken(facts.description)
        self._forbidden = CLAIMS["negation"] | CLAIMS["superlative"] | CLAIMS["award"] | CLAIMS["price"] | ADDRESSING

    def run(self, tokens: list[Token], index: int) -> int:
        """How many words from `index` stand in the description in the same order; 0 when too few or not quotable."""
        best = 0
        for start, word in enumerate(self._words):
            if word != tokens[index].word or any(
                w in CLAIMS["negation"] for w in self._words[max(0, start - 3) : start]
            ):
                continue
            length = 0
            for token, said in zip(tokens[index:], self._words[start:], strict=False):
                if token.tag or token.word != said or said in self._forbidden:
                    break
                length += 1
            best = max(best, length)
        return best if best >= MIN_QUOTE_WORDS else 0


def _unsupported(tokens: list[Token], facts: ItemFacts) -> Iterator[Violation]:
    """One violation for each run of neighbouring unsupported words that make the same kind of claim."""
    run: list[Token] = []
    rule = ""
    for token in (*tokens, None):
        claim = _claim(token) if token and token.tag == "" else ""
        if run and (claim != rule or token is None):
            yield _explained(run, rule, facts)
            run = []
        if token and claim:
            run.append(token)
        rule = claim


def _claim(token: Token) -> str:
    if any(character.isdigit() for character in token.word):
        return "number"
    if token.word in ADDRESSING:
        return "addressing"
    for rule, words in CLAIMS.items():
        if token.word in words or token.word.removesuffix("'s") in words:
            return rule
    return "name" if token.raw[0].isupper() else "claim"


def _explained(run: list[Token], rule: str, facts: ItemFacts) -> Violation:
    claim = " ".join(token.raw for token in run)
    if rule == "category":
        reason = f"is not one of its categories ({', '.join(facts.labels) or 'it has none'})"
    elif rule == "number" and facts.year is not None:
        reason = f"is a number in no fact; the year is {facts.year}"
    else:
        reason = REASONS[rule]
    return Violation((run[0].start, run[-1].end), claim, reason, rule)
