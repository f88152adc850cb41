"""What supports each word of a text: the first half of the checker.

Every word is the name of an item, one of its categories (or a form of one), its year, a stated attribute, words of its
description in their order, or one of the few words that claim nothing. Whatever is none of these keeps an empty tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from models.content import naming
from models.content.kind import ItemFacts
from models.content.language import Language, base
from models.content.titles import WORD, orders, plain, spoken, straight
from models.content.words import LINK, MARKUP, PROPERTIES

JOINED = re.compile(r"[\s/&:'-]*")
SENTENCE_END = re.compile(r"[!?;\n]+|\.+(?![\d)])")
SENTENCE = "sentence"  # the fact of a token that is a whole sentence of the description
MIN_QUOTE_WORDS = 3  # of a description, fewer words in a row could mean anything
MAX_DESCRIPTION_CHARS = 4000  # what lies beyond supports nothing
MAX_VALUE_CHARS = 200
SAYS_WHAT = re.compile(r"[\w\s,.()/&'\"#%+-]+")  # the plain title of a thing
MAX_STARTS = 40  # places where a quotation may begin with one word
MIN_TITLE_WORDS = 2
ARTICLES = ("a", "an", "the", "ein", "eine", "der", "die", "das")
BEFORE_NO_QUOTE = ("with", "in", "from", "of")  # "with electric stoves" is not what "works on electric stoves" says
MIN_COMPOUND_CHARS = 7
LINKING = ("", "s", "n", "en", "-")

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or several that one fact supports.

    `word` is lower case, `raw` as written, [start, end) in the text. `tag` is title, year, category, fact, noun, count,
    phrase, function, or "" when nothing supports it; `fact` names the category or attribute that does (of a function word,
    its part in the sentence). `holders` are the numbers of the items that it is true of; empty: it claims nothing of one.
    """

    word: str
    raw: str
    start: int
    end: int
    tag: str
    fact: str
    holders: frozenset[int] = frozenset()

    @property
    def part(self) -> str:
        """Its part in the sentence, as Language.following names them; "" for an unsupported word."""
        if self.tag == "category" and self.word.startswith(("for ", "für ", "made for ")):
            return "audience"
        return self.fact if self.tag == "function" else self.tag


@dataclass(frozen=True)
class About:
    """What a text may speak of.

    `language` is the text's; None for one without a grammar here: names, years, categories and attributes only. `phrases`
    are a kind's own words that claim nothing; `claims` its phrases that are true of some items only ("bought": those bought).
    `counted`: the number of items may be said. `decades`: theirs, too.
    """

    items: tuple[ItemFacts, ...]
    language: Language | None
    phrases: tuple[str, ...] = ()
    claims: Mapping[str, frozenset[int]] = field(default_factory=dict)
    counted: bool = False
    decades: bool = False


@dataclass(frozen=True, slots=True)
class _Fact:
    tag: str
    fact: str
    holders: frozenset[int] = frozenset()


def tagged(text: str, about: About) -> list[Token]:
    """The words of `text` (see titles.straight), each with what supports it; a name, category or quotation is one token."""
    tokens = list(_names_marked(text, about.items))
    phrases = _phrases(about)
    longest = max(map(len, phrases), default=0)
    sources = [_source(item, about.language) for item in about.items]
    stems = _stems(about)
    done: list[Token] = []
    index = 0
    while index < len(tokens):
        token, length = tokens[index], 1
        if token.tag == "":
            length, found = _longest(text, tokens, index, phrases, longest)
            lead = _lead(done)
            run, holder = max(((one.run(tokens, index, lead), ix) for ix, one in enumerate(sources)), default=(0, 0))
            if run > length:
                whole = sources[holder].is_sentence(tuple(one.word for one in tokens[index : index + run]))
                length, found = run, _Fact("fact", SENTENCE if whole else "description", frozenset((holder,)))
            found = found or _compound(token.word, stems) or _count(token, about)
            length = max(length, 1)
            end = tokens[index + length - 1].end
            raw = text[token.start : end]
            if found and found.fact == SENTENCE and text[end : end + 1] == ")" and raw.count("(") == raw.count(")") + 1:
                end, raw = end + 1, f"{raw})"
            support = (found.tag, found.fact, found.holders) if found else ("", "", frozenset[int]())
            token = Token(raw.lower(), raw, token.start, end, *support)
        done.append(token)
        index += length
    return done


def _source(item: ItemFacts, language: Language | None) -> _Quotable:
    key = ("quotable", language.code if language else None)
    if key not in item.derived:
        item.derived[key] = _Quotable(item, language)
    kept: _Quotable = item.derived[key]
    return kept


def _names_marked(text: str, items: Sequence[ItemFacts]) -> list[Token]:
    """All words; each mention of an item's name is one token of tag "title"."""
    holders: dict[str, set[int]] = {}
    for ix, item in enumerate(items):
        for name in filter(None, (*item.names, naming.unbranded(item))):
            holders.setdefault(straight(name), set()).add(ix)
    pattern = "|".join(re.escape(name) for name in sorted(holders, key=len, reverse=True))
    found = list(re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", text)) if holders else []
    tokens = [
        Token(m.group().lower(), m.group(), *m.span(), "title", m.group(), frozenset(holders[m.group()])) for m in found
    ]
    for match in WORD.finditer(text):
        if not any(m.start() < match.end() and match.start() < m.end() for m in found):
            tokens.append(Token(match.group().lower(), match.group(), *match.span(), "", ""))
    return sorted(tokens, key=lambda token: token.start)


def _phrases(about: About) -> dict[Phrase, _Fact]:
    """Words in order -> what supports them. What is true of an item goes before what claims nothing."""
    language = about.language
    phrases = {} if language is None else dict(_claimless(language, tuple(about.phrases)))
    if language is not None:
        phrases |= {spoken(words): _Fact("fact", "event", holders) for words, holders in about.claims.items()}
    code = language.code if language else None
    for ix, item in enumerate(about.items):
        said = item.derived.get(("said", code, about.decades))
        if said is None:
            said = item.derived["said", code, about.decades] = tuple(_said_of(item, code, about.decades))
        for words, tag, fact in said:
            before = phrases.get(words)
            holders = frozenset((ix,)) | (before.holders if before is not None and before.tag == tag else frozenset())
            phrases[words] = _Fact(tag, fact, holders)
    return phrases


_CLAIMLESS: dict[tuple[str, tuple[str, ...]], dict[Phrase, _Fact]] = {}  # by language and the phrases of a kind


def _claimless(language: Language, phrases: tuple[str, ...]) -> dict[Phrase, _Fact]:
    """What claims nothing: the words of the language, and those of the kind. Made once."""
    key = (language.code, phrases)
    if key not in _CLAIMLESS:
        function = {tuple(words.split()): _Fact("function", part) for words, part in language.part_of.items()}
        _CLAIMLESS[key] = function | {spoken(words): _Fact("phrase", "") for words in phrases}
    return _CLAIMLESS[key]


def _said_of(item: ItemFacts, code: str | None, decades: bool) -> Iterator[tuple[Phrase, str, str]]:
    """(words, tag, fact) of everything that one item's fields state."""
    if code is not None:
        yield from ((spoken(noun), "noun", item.noun) for noun in naming.nouns(item, code))
    if item.year is not None:
        yield (str(item.year),), "year", "year"
        if decades and code is not None:
            yield from ((words, "year", "year") for words in naming.decade(item.year, code))
    for name, value in item.attributes.items():
        if plain(str(value), MAX_VALUE_CHARS) != " ".join(str(value).split()) or orders(str(value)):
            continue
        for words in naming.ways(name, str(value), base(item.locale), code):
            yield words, "fact", name
    for label in item.labels:
        for words in naming.forms(label, base(item.locale), code):
            yield words, "category", label


def _longest(
    text: str, tokens: list[Token], index: int, phrases: dict[Phrase, _Fact], longest: int
) -> tuple[int, _Fact | None]:
    """The longest phrase that begins at `index`: (words, fact), or (0, None)."""
    best: tuple[int, _Fact | None] = (0, None)
    words: list[str] = []
    for offset, token in enumerate(tokens[index : index + longest]):
        if token.tag or (offset and not JOINED.fullmatch(text, tokens[index + offset - 1].end, token.start)):
            break
        words.append(token.word)
        found = phrases.get(tuple(words))
        if found is not None:
            best = (offset + 1, found)
    return best


def _stems(about: About) -> dict[str, _Fact]:
    """What a German compound may be put together from: "krieg(s)", "horror", "film", by their facts."""
    stems: dict[str, _Fact] = {}
    if about.language is None or about.language.code != "de":
        return stems
    for ix, item in enumerate(about.items):
        said = [(stem, "category", label) for label in item.labels for stem in naming.stems(label, base(item.locale))]
        said += [(noun, "noun", item.noun) for noun in naming.nouns(item, "de")]
        for stem, tag, fact in said:
            before = stems.get(stem)
            stems[stem] = _Fact(tag, fact, frozenset((ix,)) | (before.holders if before else frozenset()))
    return stems


def _compound(word: str, stems: Mapping[str, _Fact]) -> _Fact | None:
    """What supports a compound, where every part of it has support: true of the items that all parts are true of."""
    if len(word) < MIN_COMPOUND_CHARS or not stems:
        return None
    for stem, fact in stems.items():
        for link in LINKING:
            if not word.startswith(stem + link) or len(word) == len(stem + link):
                continue
            rest = word[len(stem + link) :]
            last = stems.get(rest) or _compound(rest, stems)
            if last is not None and "category" in (fact.tag, last.tag) and fact.holders & last.holders:
                return _Fact("category", f"{fact.fact}+{last.fact}", fact.holders & last.holders)
    return None


def _count(token: Token, about: About) -> _Fact | None:
    if not about.counted or about.language is None:
        return None
    count = (
        int(token.word) if token.word.isdecimal() and len(token.word) < 4 else about.language.numbers.get(token.word)
    )
    return _Fact("count", str(count)) if count is not None else None


def _lead(done: list[Token]) -> str:
    """The part of the last word that is no article; "" at the start, or after an unsupported word."""
    return next((token.part for token in reversed(done) if token.part != "article"), "")


def _begins(words: Phrase, start: int, lead: str) -> bool:
    """Whether words of a sentence from `start` may follow a word of the part `lead`."""
    first = start == 0 or (start == 1 and words[0] in ARTICLES)
    return lead not in BEFORE_NO_QUOTE and (first or lead != "be")


def _property(words: Phrase, index: int) -> bool:
    """Whether a word of praise or price is none where it stands ("acid-free")."""
    return words[max(0, index - 1) : index + 1] in PROPERTIES or words[index : index + 2] in PROPERTIES


def quotable(description: str) -> bool:
    """Whether a description may be quoted at all: not one with orders, links or markup, in which anything could hide."""
    return not (orders(description) or LINK.search(description) or MARKUP.search(description))


class _Quotable:
    """A description's words that a text may repeat in their order: no praise, prize, price or address among them.

    What stands behind a negation may be repeated only with it, as a whole sentence; what begins in the middle of a sentence,
    neither after a preposition nor as what the item is: "works with the DeskJet 2624" does not make it one.
    """

    def __init__(self, item: ItemFacts, language: Language | None) -> None:
        own = language is not None and language.code == base(item.locale)
        said = item.description[:MAX_DESCRIPTION_CHARS]
        hidden = not (own and quotable(said))
        self._sentences = [] if hidden else [spoken(part) for part in SENTENCE_END.split(said)]
        name = item.names[0] if item.names and item.noun in naming.THINGS else ""
        self._title = (
            spoken(name)
            if own
            and plain(item.title, MAX_VALUE_CHARS) == item.title
            and SAYS_WHAT.fullmatch(name)
            and not orders(name)
            else ()
        )
        self._starts: dict[str, list[tuple[Phrase, int]]] = {}
        for words in (self._title, *self._sentences):
            for start, word in enumerate(words):
                if len(places := self._starts.setdefault(word, [])) < MAX_STARTS:
                    places.append((words, start))
        claims = language.claims if language else {}
        self._negations = claims.get("negation", frozenset())
        self._forbidden = frozenset[str]().union(
            *(claims.get(rule, frozenset()) for rule in ("superlative", "award", "price"))
        )
        self._forbidden |= language.addressing if language else frozenset()

    def run(self, tokens: list[Token], index: int, lead: str) -> int:
        """How many words from `index`, after a word of the part `lead`, stand so in the title or in one sentence; 0: too few."""
        best = 0
        for words, start in self._starts.get(tokens[index].word, ()):
            if words is self._title or _begins(words, start, lead):
                length = self._length(tokens[index:], words, start)
                best = max(
                    best, length if length >= (MIN_TITLE_WORDS if words is self._title else MIN_QUOTE_WORDS) else 0
                )
        return best

    def is_sentence(self, words: Phrase) -> bool:
        """Whether the description has a sentence of exactly these words."""
        return words in self._sentences

    def _length(self, tokens: list[Token], words: Phrase, start: int) -> int:
        whole = 0
        for token, said in zip(tokens, words[start:], strict=False):
            if token.tag or token.word != said or (said in self._forbidden and not _property(words, start + whole)):
                break
            whole += 1
        if start == 0 and whole == len(words):
            return whole
        if any(word in self._negations for word in words[:start]):
            return 0
        return next((at for at, word in enumerate(words[start : start + whole]) if word in self._negations), whole)
