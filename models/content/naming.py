"""How the fields of an item are said in a language: its categories, its nouns, its attributes, its decade."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from models.content import german, titles
from models.content.kind import ItemFacts
from models.content.language import base
from models.content.titles import orders, plain, spoken
from models.content.words import CATEGORY_FORMS, FUNCTION_WORDS, SAME_NOUN

ENGLISH_OF = {" ".join(spoken(said)): label for label, said in reversed(list(german.GLOSSARY.items()))}

# What an attribute is, whatever a catalogue calls it.
ROLES = {
    "brand": "brand", "marke": "brand", "hersteller": "brand", "manufacturer": "brand", "publisher": "maker", "verlag": "maker",
    "author": "maker", "autor": "maker", "autorin": "maker", "artist": "maker", "künstler": "maker", "director": "maker",
    "color": "color", "colour": "color", "farbe": "color", "material": "material", "price": "price", "preis": "price",
}  # fmt: skip
GERMAN_KEYS = {"brand": "marke", "color": "farbe", "material": "material", "price": "preis", "author": "autor"}
ENGLISH_KEYS = {german_key: key for key, german_key in GERMAN_KEYS.items()}
SAYABLE_ALONE = ("brand", "maker", "color", "material")
NO_PLURAL = ("news", "jeans", "lens", "series", "species", "glasses", "scissors")
MEASURE = re.compile(r"\d+(?:[.,]\d+)*\s?[^\W\d_]{1,8}")


def role(attribute: str) -> str:
    """Which of ROLES an attribute is; its own name where it is none."""
    return ROLES.get(attribute.lower(), attribute.lower())


def labels_in(item: ItemFacts, code: str) -> tuple[str, ...]:
    """The item's categories as they read in a text of the language `code`."""
    if code not in ("en", "de") or base(item.locale) == code == "en":
        return item.labels
    if code == "de":
        written = titles.labels(item.categories, lower=False)
        if base(item.locale) == "de":
            return written
        return tuple(german.GLOSSARY.get(" ".join(spoken(label)), label) for label in written)
    return tuple(ENGLISH_OF.get(" ".join(spoken(label)), label) for label in item.labels)


def brand_of(facts: ItemFacts) -> str:
    """The brand among the attributes, cleaned; "" without one."""
    brands = (str(value) for name, value in facts.attributes.items() if role(name) == "brand")
    return next((brand for brand in brands if plain(brand, 40) == brand and not orders(brand)), "")


def noun_in(item: ItemFacts, code: str) -> tuple[str, str]:
    """(article, noun) that a text of the language `code` calls the item: ("an", "album"), ("ein", "Album")."""
    if code == "de":
        return german.NOUNS[german.NOUN_OF.get(item.noun, "titel")][:2]
    noun = _english_noun(item)
    return ("an" if noun[0] in "aeiou" else "a"), noun


def _english_noun(item: ItemFacts) -> str:
    if base(item.locale) != "de" or item.noun not in german.NOUN_OF:
        return item.noun
    return next(word for word, known in german.NOUN_OF.items() if known == german.NOUN_OF[item.noun])


@lru_cache(maxsize=4096)
def forms(label: str, spoken_in: str, code: str | None) -> frozenset[tuple[str, ...]]:
    """Every way to say a category of a catalogue in the language `spoken_in` in a text of the language `code`."""
    if code == "de":
        return frozenset(_german(label, spoken_in))
    if code == "en" and spoken_in == "de":
        label = ENGLISH_OF.get(" ".join(spoken(label)), label)
    known = {spoken(label)}
    for part in (label, *re.split(r"[&/,>|]|\band\b", label)):
        words = spoken(part)
        if not words or (part != label and all(word in FUNCTION_WORDS for word in words)):
            continue
        *head, last = words
        known |= {words, *((*head, form) for form in _numbers(last))}
        known |= {spoken(form) for form in (CATEGORY_FORMS.get(" ".join(words), ()) if code == "en" else ())}
    return frozenset(known)


def _german(label: str, spoken_in: str) -> Iterator[tuple[str, ...]]:
    for said in _german_labels(label, spoken_in):
        yield spoken(said)
        for form in german.FORMS.get(" ".join(spoken(said)), ()):
            if form.endswith("*"):
                yield from ((form[:-1] + ending,) for ending in german.ENDINGS)
            elif not form.endswith("-"):
                yield spoken(form)


def _german_labels(label: str, spoken_in: str) -> tuple[str, ...]:
    whole = label if spoken_in == "de" else german.GLOSSARY.get(" ".join(spoken(label)), label)
    parts = [part.strip() for part in re.split(r"[&/,>|]|\bund\b|\band\b", label) if spoken(part)]
    if spoken_in != "de":
        parts = [german.GLOSSARY.get(" ".join(spoken(part)), part) for part in parts]
    return (whole, *parts)


@lru_cache(maxsize=4096)
def stems(label: str, spoken_in: str) -> tuple[str, ...]:
    """How a category begins a German compound, or ends one: "kriegs" of "Krieg"."""
    found = [form[:-1] for said in _german_labels(label, spoken_in)
             for form in german.FORMS.get(" ".join(spoken(said)), ()) if form.endswith("-")]  # fmt: skip
    whole = [words[0] for words in forms(label, spoken_in, "de") if len(words) == 1 and len(words[0]) > 3]
    return tuple(dict.fromkeys((*found, *whole)))


def nouns(item: ItemFacts, code: str) -> Sequence[str]:
    """What a text of the language `code` may call the item, in lower case, singular and plural."""
    if code == "de":
        _, noun, plurals = german.NOUNS[german.NOUN_OF.get(item.noun, "titel")]
        return (noun.lower(), *plurals)
    noun = _english_noun(item)
    return [word for one in (noun, "title", *SAME_NOUN.get(noun, ())) for word in (one, f"{one}s")]


def decade(year: int, code: str) -> tuple[tuple[str, ...], ...]:
    """ "1990s", "90er Jahre"."""
    first = year - year % 10
    return ((f"{first}s",),) if code == "en" else ((f"{first}er", "jahre"), (f"{first % 100}er", "jahre"))


def ways(attribute: str, value: str, spoken_in: str, code: str | None) -> list[tuple[str, ...]]:
    """Every way to say an attribute: beside its name, and alone where its value says what it is.

    In another language than the catalogue's only names, numbers and measures are said: a word would need translating.
    """
    said, key = spoken(value), spoken(attribute.replace("_", " "))
    if not said or not key or key in (("type",), ("year",)):
        return []
    kind = role(" ".join(key))
    foreign = code != spoken_in
    measured = MEASURE.fullmatch(value.strip()) is not None
    if code is not None and foreign and kind not in ("brand", "maker") and not (measured or _is_number(value)):
        return []
    keys = {key, *((spoken(other),) if (other := _key_in(" ".join(key), code)) else ())}
    found = [(*k, *joint, *said) for k in keys for joint in ((), ("of",), ("is",), ("von",), ("ist",))]
    found += [(*said, *k) for k in keys]
    if kind in SAYABLE_ALONE or measured:
        found.append(said)
    found += [(*words, *said) for words in _LEADS.get((code or "", kind), ())]
    if code == "de" and kind == "color" and len(said) == 1:
        found += [(said[0] + ending,) for ending in german.ENDINGS]
    return found


_LEADS: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("en", "brand"): (("by",), ("from",)), ("en", "maker"): (("by",),), ("en", "material"): (("made", "of"), ("of",)),
    ("en", "price"): (("costs",), ("for",)),
    ("de", "brand"): (("von",), ("von", "der", "marke"), ("der", "marke")), ("de", "maker"): (("von",),),
    ("de", "material"): (("aus",), ("besteht", "aus")), ("de", "price"): (("kostet",), ("für",)),
}  # fmt: skip


def _key_in(key: str, code: str | None) -> str | None:
    return (GERMAN_KEYS if code == "de" else ENGLISH_KEYS).get(key)


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[\d.,\s%€$£-]+", value) is not None


def _numbers(word: str) -> set[str]:
    """Plural or singular of an English noun, where that is safe: "comedy" -> "comedies", "Electronics" -> "electronic"."""
    if "'" in word or len(word) < 3:
        return set()
    if word.endswith("ies") and len(word) > 5:
        return {word[:-3] + "y"}
    if word.endswith("s"):
        singular = len(word) > 3 and not word.endswith(("ss", "us", "is", "as")) and word not in NO_PLURAL
        return {word[:-1]} if singular else set()
    if word.endswith("y") and word[-2] not in "aeiou":
        return {word[:-1] + "ies"}
    return {word + ("es" if word.endswith(("x", "z", "ch", "sh")) else "s")}
