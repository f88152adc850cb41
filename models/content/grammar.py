"""The checker's second half: allowed words in an order that claims more, or that nobody would print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from models.content import german, naming
from models.content.kind import ItemFacts, Violation
from models.content.language import Language
from models.content.support import SENTENCE, Token
from models.content.titles import spoken
from models.content.words import JOINING, LEADS, NO_LEADS, PARTS, QUOTED_VERBS, WORKS

MAX_MENTIONS = 2
OPEN = ("article", "and", "with", "in", "from", "of", "for", "joins", "joining", "as", "that", "both", "this", "it")
QUOTED = ("description", SENTENCE)
ONLY_ONE = ((("is", "was", "as"), ("the",)), (("ist", "war", "als"), ("der", "die", "das")))
# What has a title, and none with an article before it: "the Desk Lamp", but not "the Toy Story".
TITLED = frozenset(["film", "movie", "book", "buch", "album", "song", "lied", "series", "serie", "title", "titel"])
INCHES = re.compile(r'(?<=\d)"')  # or the end of what is quoted
SPECIFIED = re.compile(r"[A-Z][\w()./ -]{2,40}: \S")  # "Sheet capacity: 175."
GLUED = re.compile(r"[,;:]\s*[.,;:]|\.\s*\.|\(\s*\)|\s[.,;:)]|\(\s|[,;:](?=\w)|\s\s")


def prose(
    text: str, tokens: list[Token], facts: ItemFacts, max_sentences: int, language: Language
) -> Iterator[Violation]:
    """What the order of the words claims beyond the facts, and whether they are complete sentences."""
    sentences = _sentences(text, tokens)
    yield from _too_many(text, sentences, max_sentences)
    yield from _whole(text, tokens, facts)
    yield from _mentions(tokens, facts)
    english = language.code == "en"
    for sentence in sentences:
        yield from _complete(text, sentence, language)
        yield from _order(text, sentence, language)
        rules = (_ranking, _article, _headless) if english else (_gender,)
        for index in range(len(sentence)):
            for rule in (*rules, _place, _definite):
                yield from rule(text, sentence, index)
    yield from _repeated(tokens)


def line(
    text: str, tokens: list[Token], items: Sequence[ItemFacts], named: bool, max_sentences: int, language: Language | None
) -> Iterator[Violation]:  # fmt: skip
    """The same for a line that need not be a sentence: it begins and ends well, and its small words lead somewhere."""
    yield from _marks(text, tokens)
    if named and any(item.names for item in items) and not any(token.tag == "title" for token in tokens):
        name = next(item.names[0] for item in items if item.names)
        yield _at(text, 0, len(text), f'does not name the item "{name}"', "title")
    if language is None:
        return
    sentences = _sentences(text, tokens)
    yield from _too_many(text, sentences, max_sentences)
    if not any(token.tag in ("title", "category", "fact", "year", "phrase") for token in tokens):
        yield _at(text, 0, len(text), "says nothing of the facts", "form")
    if _gaps(text, tokens).count(":") > 1:
        yield _at(text, 0, len(text), "has more than one colon", "form")
    if len(items) == 1:
        yield from _repeated(tokens)
    yield from _called(tokens, items)
    for sentence in sentences:
        for before, token in zip(sentence, (*sentence[1:], None), strict=True):
            if before.part in OPEN and (token is None or token.part in ("and", "be") or before.word == token.word):
                yield _of(before, "leads nowhere", "form")
        for index in range(len(sentence)):
            for rule in (*((_ranking,) if language.code == "en" else ()), _place, _definite):
                yield from rule(text, sentence, index)


def _called(tokens: list[Token], items: Sequence[ItemFacts]) -> Iterator[Violation]:
    """ "The Alien" is no name of a film, and "Alien and 1979" no list of items."""
    for first, second, third in zip([None, *tokens], tokens, tokens[1:], strict=False):
        titled = any(items[ix].noun in TITLED for ix in third.holders) if third.tag == "title" else False
        if titled and second.part == "article":
            yield Violation((second.start, third.end), f"{second.raw} {third.raw}", "is not its name", "title")
        if first is not None and first.tag == "title" and second.part == "and" and third.tag in ("year", "fact"):
            yield _of(third, "is no item", "form")


def _too_many(text: str, sentences: list[list[Token]], most: int) -> Iterator[Violation]:
    if len(sentences) > most:
        yield _at(text, sentences[most][0].start, len(text), f"is more than {most} sentences", "form")


def _sentences(text: str, tokens: list[Token]) -> list[list[Token]]:
    sentences: list[list[Token]] = [[]]
    for before, token in pairwise([None, *tokens]):
        if token is None:
            continue
        if before is not None and any(mark in text[before.end : token.start] for mark in ".?!"):
            sentences.append([])
        sentences[-1].append(token)
    return [sentence for sentence in sentences if sentence]


def _whole(text: str, tokens: list[Token], facts: ItemFacts) -> Iterator[Violation]:
    """The text as one: beginning, end, punctuation, something said."""
    if not text.endswith("."):
        yield _at(text, max(0, len(text) - 20), len(text), "does not end with a full stop", "form")
    first = tokens[0] if tokens else None
    if first is None or not (first.tag == "title" or first.raw[0].isupper()) or text[: first.start].strip('"('):
        yield _at(text, 0, min(20, len(text)), "does not begin like a sentence", "form")
    yield from _marks(text, tokens)
    said = {token.tag for token in tokens}
    stated = "fact" in said or "category" in said
    if (facts.labels and not stated) or (facts.year and not facts.labels and not stated and "year" not in said):
        yield _at(text, 0, len(text), "leaves out the facts: it names no category and no year", "form")


def _marks(text: str, tokens: list[Token]) -> Iterator[Violation]:
    gaps = _gaps(text, tokens)
    for match in GLUED.finditer(gaps):
        yield _at(text, *match.span(), "is broken punctuation", "form")
    if gaps.count("(") != gaps.count(")") or gaps.count('"') % 2:
        yield _at(text, 0, len(text), "has a bracket or quotation mark without its partner", "form")


def _gaps(text: str, tokens: list[Token]) -> str:
    """`text` with every token as letters, so that only punctuation between tokens is looked at. Where one of its quotation
    marks has no partner, those behind numbers are inches."""
    characters = list(text)
    for token in tokens:
        characters[token.start : token.end] = "w" * (token.end - token.start)
    if characters.count('"') % 2:
        for found in INCHES.finditer(text):
            characters[found.start()] = "w"
    return "".join(characters)


def _mentions(tokens: list[Token], facts: ItemFacts) -> Iterator[Violation]:
    """The item is named, once or twice, and by its name: "The Toy Story" is none."""
    mentions = [index for index, token in enumerate(tokens) if token.tag == "title"]
    if facts.names and not mentions:
        yield Violation((0, tokens[-1].end if tokens else 0), "", f'does not name the item "{facts.names[0]}"', "title")
    for index in mentions[MAX_MENTIONS:]:
        yield _of(tokens[index], "names the item once more", "form")
    for index in mentions:
        before = tokens[index - 1] if index else None
        if facts.noun not in TITLED or before is None or tokens[index].start - before.end != 1:
            continue
        if before.part == "article":
            reason = f'is not its name, which is "{facts.names[0]}"'
            yield Violation((before.start, tokens[index].end), f"{before.raw} {tokens[index].raw}", reason, "title")


def _complete(text: str, sentence: list[Token], language: Language) -> Iterator[Violation]:
    """A verb, and two categories where two are joined."""
    verbs = (token.word for token in sentence if token.tag == "function")
    in_facts = (word for token in sentence if token.tag == "fact" for word in token.word.split())
    if not any(verb in language.verbs for verb in (*verbs, *in_facts)) and not _needs_no_verb(text, sentence):
        yield _at(text, sentence[0].start, sentence[-1].end, "is no complete sentence: it has no verb", "form")
    categories = {token.fact for token in sentence if token.tag == "category"}
    for token in sentence:
        if token.tag == "function" and token.word in JOINING and len(categories) < 2:
            yield _of(token, "joins what is only one category", "claim")


def _needs_no_verb(text: str, sentence: list[Token]) -> bool:
    """ "Copper Pan: a heavy pan." and "Copper Pan, from Acme." need no verb; nor do "It uses 6 watts." and "Lids are made of
    glass.", which have that of the description."""
    if any(token.fact in QUOTED and len(token.word.split()) > 2 for token in sentence[1:]):
        return True
    if len(sentence) == 1 and sentence[0].fact == SENTENCE:
        words = spoken(sentence[0].word)
        return has_verb(words) or leads(words[0]) or SPECIFIED.match(sentence[0].raw) is not None
    if {token.tag for token in sentence} == {"title", "fact"} and len(sentence) == 2:
        gap = text[sentence[0].end : sentence[1].start]
        maker = next(token for token in sentence if token.tag == "fact")
        if naming.role(maker.fact) in ("brand", "maker"):
            return gap.strip() == ("," if maker is sentence[1] else ":")
    return sentence[0].tag == "title" and any(
        ":" in text[before.end : token.start] for before, token in pairwise(sentence[:3])
    )


def has_verb(words: Sequence[str]) -> bool:
    """Whether words of a description are a sentence: "Keeps it dry" is one, "Keep it dry" is an order."""
    rest = words if words[0].endswith("s") else words[1:]
    return not QUOTED_VERBS.isdisjoint(rest) or ("work", "with") in pairwise(rest)


def leads(word: str) -> bool:
    """Whether a quoted sentence without a verb may begin with `word`: "Made of steel.", "2-hole punched.", "Refillable, with a
    clip."; an order ("Enjoy the glide.") does not."""
    shaped = word[:1].isdigit() or (word.endswith(("ed", "able", "ible")) and len(word) > 4)
    return word in LEADS or (shaped and word not in NO_LEADS)


def _order(text: str, sentence: list[Token], language: Language) -> Iterator[Violation]:
    """Each word may follow the one before it. Around an unsupported word nothing is said: it is refused anyway."""
    before, end = "start", sentence[0].start
    for token in (*sentence, None):
        gap = text[end : token.start] if token else ""
        marks = ["comma"] if any(mark in gap for mark in ",:;") else ["bracket"] if "(" in gap else []
        for part in (*marks, token.part if token else "end"):
            if before and part and part not in language.following.get(before, ()):
                start, stop = max(0, text.rfind(" ", 0, max(0, end - 1)) + 1), token.end if token else end
                yield _at(text, start, stop, "is no such sentence" if token else "breaks off", "form")
            before = part
        end = token.end if token else end


def _ranking(text: str, sentence: list[Token], index: int) -> Iterator[Violation]:
    """ "of" leads to categories or to the item; "the comedy of the year" ranks."""
    token, lead = sentence[index], _lead(sentence, index)
    if token.tag != "function" or token.word != "of" or lead is None:
        return
    if (lead.tag == "year" and lead.word.isdigit()) or lead.word == "year":
        span = (token.start, lead.end)
        yield Violation(span, text[slice(*span)], "ranks it within a year", "superlative")
    elif lead.tag not in ("category", "fact", "noun", "title", "year") and lead.word not in PARTS["genre"]:
        yield _of(token, "leads to nothing the facts state", "claim")


def _place(text: str, sentence: list[Token], index: int) -> Iterator[Violation]:
    """ "in" and "from" lead to the year, "in" also to genres, "from" to a brand; anything else is a place or a scene."""
    token, lead = sentence[index], _lead(sentence, index)
    if token.tag != "function" or token.part not in ("in", "from") or lead is None:
        return
    if token.word == "von":  # "from", "by" and "of" in one
        return
    dated = lead.tag == "year" or (
        lead.part == "year-word" and any(t.tag == "year" for t in sentence[index : index + 4])
    )
    listed = token.word == "in" and _lists_genres(sentence[index + 1 :])
    if not (dated or listed or (token.part == "from" and lead.tag in ("fact", "title"))):
        span = (token.start, lead.end)
        yield Violation(span, text[slice(*span)], "places the item somewhere, which no fact states", "place")


def _lead(sentence: list[Token], index: int) -> Token | None:
    """The first token after `index` that is no article; None where the sentence breaks off."""
    return next((token for token in sentence[index + 1 :] if token.part not in ("article", "both")), None)


def _lists_genres(after: list[Token]) -> bool:
    """Whether only categories and their joints stand before the word "genre" or one like it."""
    for token in after:
        if token.part == "genre":
            return True
        if token.tag not in ("category", "function"):
            return False
    return False


def _definite(text: str, sentence: list[Token], index: int) -> Iterator[Violation]:
    """ "is the comedy" says that there is no other."""
    pair = sentence[index : index + 2]
    if len(pair) == 2 and any(pair[0].word in leads and pair[1].word in articles for leads, articles in ONLY_ONE):
        yield Violation(
            (pair[0].start, pair[1].end), text[pair[0].start : pair[1].end], "says it is the only one", "superlative"
        )


def article(word: str) -> str:
    """ "a" or "an", by the first letter."""
    return "an" if word[:1].lower() in "aeiou" else "a"


def _article(text: str, sentence: list[Token], index: int) -> Iterator[Violation]:
    pair = sentence[index : index + 2]
    if len(pair) < 2 or pair[0].word not in ("a", "an") or pair[1].part not in ("category", "noun", "blend", "genre"):
        return
    if pair[0].word != article(pair[1].word):
        yield Violation(
            (pair[0].start, pair[1].end), text[pair[0].start : pair[1].end], "has the wrong article", "form"
        )


def _gender(text: str, sentence: list[Token], index: int) -> Iterator[Violation]:
    """ "ein Serie", "eine Film"."""
    pair = sentence[index : index + 2]
    if len(pair) < 2 or pair[0].word not in ("ein", "eine") or pair[1].part != "noun":
        return
    if (article := _articles().get(pair[1].word)) and article != pair[0].word:
        yield _at(text, pair[0].start, pair[1].end, "has the wrong article", "form")


def _articles() -> dict[str, str]:
    return {noun.lower(): article for article, noun, _ in german.NOUNS.values()}


def _headless(text: str, sentence: list[Token], index: int) -> Iterator[Violation]:
    """ "is a war", "is a crime and thriller": after an article the categories describe a noun, or the last is one itself."""
    if sentence[index].word not in ("a", "an"):
        return
    run = [sentence[index]]
    for token in sentence[index + 1 :]:
        if token.part not in ("category", "and"):
            break
        run.append(token)
    categories = [token for token in run if token.part == "category"]
    after = sentence[index + len(run)] if index + len(run) < len(sentence) else None
    if not categories or (after and after.part in ("noun", "genre", "blend", "fact", "")):
        return
    span = (run[0].start, categories[-1].end)
    listed = any(mark in text[slice(*span)] for mark in (",", " and "))
    if listed or categories[-1].word not in WORKS:
        yield Violation(span, text[slice(*span)], "describes nothing: the noun is missing", "form")


def _repeated(tokens: list[Token]) -> Iterator[Violation]:
    """A category or the year said twice reads like a machine."""
    seen: set[tuple[str, str]] = set()
    for token in tokens:
        if token.tag in ("category", "year"):
            if (token.tag, token.fact) in seen:
                yield _of(token, "is said twice", "form")
            seen.add((token.tag, token.fact))


def _of(token: Token, reason: str, rule: str) -> Violation:
    return Violation((token.start, token.end), token.raw, reason, rule)


def _at(text: str, start: int, end: int, reason: str, rule: str) -> Violation:
    return Violation((start, end), text[start:end], reason, rule)
