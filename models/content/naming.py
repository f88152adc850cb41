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
# Of a thing to use, the title is a description in short: "Desk Lamp". Of a film it is a name and says nothing.
THINGS = ("title", "product", "artikel", "produkt", "article", "item")
ARTICLE_NUMBER = re.compile(r"\s*\((?=[^()]*\d)(?!\d+-?[A-Z]{1,3}\))[A-Z0-9#/-]{4,}\)$")
LONG_CHARS = 45  # of a title
NUMBERED = re.compile(r"^\d{5,6} (?=[A-Z][a-z])")
CUT = re.compile(r"(?:\s*[,;(]|\s-\s)[^,;(]{0,60}…$")  # of a title that was cut, what stands behind its last comma
NO_BRAND = ("unknown", "unbranded", "generic", "no brand", "none", "n/a", "various", "other")
LEGAL = ("inc", "llc", "ltd", "corp", "gmbh")
LEGAL_END = re.compile(rf",?\s+(?:{'|'.join(LEGAL)})\.?$", re.IGNORECASE)
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
    brand = next((brand for brand in brands if plain(brand, 40) == brand and not orders(brand)), "")
    return "" if brand.lower() in NO_BRAND else LEGAL_END.sub("", brand).strip(" .,")


def has_shop_title(item: ItemFacts) -> bool:
    """Whether its title is one as shops write them: long, or with several numbers, and no work of a year."""
    name = item.names[0] if item.names and item.year is None else ""
    return len(name) > LONG_CHARS or sum(any(c.isdigit() for c in word) for word in spoken(name)) > 1


def unbranded(facts: ItemFacts) -> str:
    """A thing's title without the brand and the article number at its ends, of a long one without its last part; "" where
    that leaves nothing out.

    "Avery Iron-On Transfers, Pack of 12 (03275)" by Avery is "Iron-On Transfers, Pack of 12".
    """
    if "unbranded" not in facts.derived:
        facts.derived["unbranded"] = _unbranded(facts)
    said: str = facts.derived["unbranded"]
    return said


def _unbranded(facts: ItemFacts) -> str:
    name, brand = facts.names[0] if facts.names else "", brand_of(facts)
    if not brand or facts.year is not None or facts.noun not in THINGS:
        return ""
    begins = re.match(re.escape(brand) + r"(?!\w|'s\b)(?:\(R\)|[\s,:\u00ae\u2122-])*", name, re.IGNORECASE)
    rest = NUMBERED.sub("", ARTICLE_NUMBER.sub("", name[begins.end() :] if begins else name))
    if rest.endswith("…"):
        rest = CUT.sub("", rest)
    rest = re.sub(r"\s+(?=[,;])", "", rest).rstrip(" ,;:-")
    whole = rest != name and len(spoken(rest)) > 1 and (rest[0].isupper() or rest[0].isdigit())
    return rest if whole and rest.count("(") == rest.count(")") and not orders(rest) else ""


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
    for name in (said, said[:-1]) if kind == "brand" and len(said) > 1 and said[-1] in LEGAL else (said,):
        found += [(*words, *name) for words in _LEADS.get((code or "", kind), ())]
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
