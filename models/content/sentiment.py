"""The sentiment of a text by word lists, in English and German: deterministic, offline, and it names its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from models.content.language import base, word_set
from models.content.titles import WORD, straight

Sentiment = Literal["positive", "negative", "mixed", "neutral"]
READ_CHARS = 20_000
LONGEST_STEM = 16
NEGATION_WORDS = 3  # how far before a word a negation turns it

# A star stands for any ending.
POSITIVE = {
    "en": word_set(
        "good great excellent amazing awesome love loves loved "
        "lovely perfect* wonderful* fantastic best beautiful* nice* happy "
        "happily pleased satisf* recommend* enjoy* impress* comfortable "
        "sturdy delight* superb* brilliant* well easy easily "
        "reliable durable bargain worth favorite favourite charming "
        "gripping funny hilarious masterpiece touching fun cozy cosy "
        "smooth* solid flawless* gorgeous outstanding glad thrilled "
        "works crisp tasty delicious helpful quick quickly better"
    ),
    "de": word_set(
        "gut gute guter gutes guten super toll* "
        "großartig* grossartig* ausgezeichnet* hervorragend* perfekt* liebe liebt schön* "
        "wunderbar* fantastisch* begeister* zufrieden empfehl* empfohlen genial* "
        "klasse spitze prima freu* gefällt gefiel angenehm* "
        "bequem* stabil* robust* hochwertig* leicht einfach "
        "praktisch* lecker* spannend* fesselnd* lustig* witzig* rührend* "
        "meisterwerk beste bester bestes besten lohnt gelungen* "
        "überzeugt überzeugend* top sauber* zuverlässig* gerne gern schnell"
    ),
}
NEGATIVE = {
    "en": word_set(
        "bad badly terrible terribly awful horrible poor poorly "
        "worst worse hate hates hated boring bored disappoint* broken "
        "breaks broke break useless waste wasted cheaply flimsy "
        "dull ugly annoying annoyed defective fail* faulty refund return* "
        "uncomfortable slow slowly weak wrong missing scratch* "
        "leak* smell* stink* overpriced expensive noisy loud problem* "
        "difficult confusing mess messy regret* unusable junk "
        "garbage trash crap tedious predictable shallow ripped cracked "
        "unfortunately sadly lacks lacking stopped rust* dead late never-again peeling peeled sticky damaged"
    ),
    "de": word_set(
        "schlecht* schlimm* furchtbar* schrecklich* mies* enttäusch* "
        "langweil* kaputt* defekt* nutzlos* unbrauchbar* hässlich* "
        "nervig* nervt ärger* ärgerlich* billig* minderwertig* mangelhaft* "
        "schwach* falsch* fehlt fehlen kratz* stink* stinkt "
        "riecht teuer* laut* problem* schwierig* unbequem* leider "
        "öde* zäh* müll schrott verschwend* bricht gebrochen gerissen "
        "zerbrochen reklam* zurückgeschickt zurückgeben rost* hasse "
        "grausam* platt vorhersehbar* wackel* wackelig* undicht* "
        "verspätet beschädigt* flach nie-wieder schade zurückgegangen abgebrochen unverständlich*"
    ),
}
NEGATIONS = {
    "en": word_set(
        "not no never isn't wasn't aren't don't doesn't didn't can't cannot couldn't won't without hardly nothing"
    ),
    "de": word_set("nicht kein keine keinen keiner keines nie niemals ohne kaum nichts weder"),
}
# "Too hot" is a complaint whatever the word; in German only before an adjective that says how much.
TOO_MUCH = {
    "en": re.compile(r"\b(?:too|overly)\s+(?!good|much fun)[a-z]+", re.IGNORECASE),
    "de": re.compile(
        r"\b(?:viel )?zu\s+(?:heiß|schwer|klein|groß|laut|kurz|lang|dünn|eng|weit|hart|weich|langsam|dunkel|hell|teuer)\w{0,2}\b",
        re.IGNORECASE,
    ),
}
# Phrases that no single word gives away, and words that a negation does not turn ("don't waste your money").
TELLING = {
    "en": (
        (
            re.compile(
                r"can(?:not|'t) recommend .{0,30}enough|buy (?:it |this |them )?again|what i (?:was looking for|needed)",
                re.I,
            ),
            1,
        ),
        (re.compile(r"a (?:day|week) early|can't put it down|could(?: not|n't) put it down", re.I), 1),
        (
            re.compile(r"sen[dt] (?:it|them) back|(?:story|plot|film|book) drags|characters are flat|money back", re.I),
            -1,
        ),
    ),
    "de": (
        (
            re.compile(
                r"wieder kaufen|was ich (?:gesucht|gebraucht) habe|gar nicht schlecht|nicht aus der hand legen", re.I
            ),
            1,
        ),
        (
            re.compile(
                r"kann man sich sparen|geld nicht wert|blättert .{0,30}\bab\b|zeitverschwendung|finger weg", re.I
            ),
            -1,
        ),
    ),
}
UNTURNED = word_set("waste wasted verschwend*")
BUT = {"en": word_set("but however although"), "de": word_set("aber jedoch allerdings obwohl")}


@dataclass(frozen=True, slots=True)
class Feeling:
    """`score`: words for less words against; `words`: the words that told, with the sign each counted with."""

    sentiment: Sentiment
    score: int
    words: tuple[tuple[str, int], ...]


def feeling(text: str, locale: str) -> Feeling:
    """What a text feels, by the words of its language (English for an unknown one)."""
    code = base(locale) if base(locale) in POSITIVE else "en"
    text = straight(text[:READ_CHARS])
    found = [(match.group(), sign) for pattern, sign in TELLING[code] for match in pattern.finditer(text)]
    for pattern, _ in TELLING[code]:
        text = pattern.sub(" ", text)
    for part in re.split(r"[.!?;\n]+", text):
        words = [match.group().lower() for match in WORD.finditer(part)]
        for index, word in enumerate(words):
            sign = _among(word, POSITIVE[code]) - _among(word, NEGATIVE[code])
            before = words[max(0, index - NEGATION_WORDS) : index]
            after = words[index + 1 : index + 2]
            if sign and not _among(word, UNTURNED) and (_negated(before, code) or (code == "de" and "nicht" in after)):
                sign = -sign
            if sign:
                found.append((word, sign))
        found += [(match.group(), -1) for match in TOO_MUCH[code].finditer(part)]
    score, against = sum(sign for _, sign in found), sum(sign < 0 for _, sign in found)
    mixed = (
        bool(against) and against < len(found) and abs(score) <= 1 and any(w in text.lower().split() for w in BUT[code])
    )
    sentiment: Sentiment = "positive" if score > 0 else "negative" if score < 0 else "mixed" if found else "neutral"
    return Feeling("mixed" if mixed else sentiment, score, tuple(found))


def _negated(before: list[str], code: str) -> bool:
    """A negation turns what follows it, unless a "but" stands between."""
    for at in range(len(before) - 1, -1, -1):
        if before[at] in BUT[code]:
            return False
        if before[at] in NEGATIONS[code]:
            return True
    return False


def _among(word: str, words: frozenset[str]) -> bool:
    return word in words or any(f"{word[:length]}*" in words for length in range(3, min(len(word), LONGEST_STEM) + 1))
