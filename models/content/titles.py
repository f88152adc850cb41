"""How an item's title and categories may be shown: cleaned of links, markup, control characters and instructions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from models.content.words import FUNCTION_WORDS, INSTRUCTION, LINK, MARKUP, NO_CATEGORY, ORDER

YEAR = r"1[5-9]\d\d|20\d\d"
BRACKETED_YEAR = re.compile(rf"\s*\(({YEAR})\)")
BRACKETED_END = re.compile(r"^(?P<main>.*[^\s(])\s*\((?P<alias>[^()]+)\)$")
ARTICLES = "the|a|an|la|le|les|l'|il|lo|el|los|las|der|die|das|det|den|o|os|une?|eine?"
TRAILING_ARTICLE = re.compile(rf"^(?P<rest>.+), (?P<article>{ARTICLES})$", re.IGNORECASE)

MAX_TITLE_CHARS = 120
MAX_CATEGORY_CHARS = 40
MAX_CATEGORIES = 6
READ_TIMES = 8
# Cyrillic and Greek letters, and a few others, that pass for Latin ones.
LOOK_ALIKES = str.maketrans(
    "аеорсухіѕјһԁԛԝмтвкнАЕОРСУХІЅЈМТВКНΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαιυρνκıɡɑ0134@$",
    "aeopcyxisjhdqwmtbkhAEOPCYXISJMTBKHABEZHIKMNOPTYXoaiupvkigaoieaas",
)
FULL_WIDTH = re.compile("[\uff01-\uff5e]")  # "＜" is markup as much as "<"
SPEAKABLE = re.compile(r"(?:[^\W_]|[ '&/-])+")


def plain(text: str, max_chars: int) -> str:
    """`text` on one line in NFC without links, markup and control characters; "" when it speaks to a language model.

    Longer texts end at a word with "…", within `max_chars`; what lies far beyond that is not even read.
    """
    text = text[: READ_TIMES * max_chars]
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text)
        text = FULL_WIDTH.sub(lambda match: chr(ord(match.group()) - 0xFEE0), text)
        text = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    if instructs(text):
        return ""
    read, before = text, None
    while before != text:  # removing one link can complete another
        before = text
        text = " ".join(MARKUP.sub(" ", LINK.sub(" ", text)).split())
    if len(text) > max_chars:
        text = (text[: max_chars - 1].rsplit(" ", 1)[0] or text[: max_chars - 1]).rstrip(" ,.;:-") + "…"
    return "" if (text != read and instructs(text)) or not any(c.isalnum() for c in text) else text


def instructs(text: str) -> bool:
    """Whether `text` speaks to or as a language model, also in letters of another script that look like Latin ones."""
    plainly = folded(text)
    return INSTRUCTION.search(text) is not None or (plainly != text and INSTRUCTION.search(plainly) is not None)


def orders(text: str) -> bool:
    """Whether `text` gives an order: to a model, or to anyone at the beginning of a sentence ("Write: ...", "Sag ...")."""
    return instructs(text) or ORDER.search(folded(text)) is not None


def folded(text: str) -> str:
    """`text` as it looks: compatibility forms, look-alike letters and accents as plain ones, nothing invisible."""
    if text.isascii() and text.isprintable():
        return text.translate(LOOK_ALIKES)
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text)).translate(LOOK_ALIKES)
    return "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] not in "CM")


def names(title: str, dated: bool = False) -> tuple[str, ...]:
    """What the item may be called, the usual name first: "Usual Suspects, The (1995)" is "The Usual Suspects".

    Of a work with a year (`dated`, or in the title) bracketed parts at the end are other names: "Seven (Se7en) (1995)"
    is "Seven", and also "Se7en" and "Seven (Se7en)". Empty when nothing of the title may be shown.
    """
    dated = dated or BRACKETED_YEAR.search(title) is not None
    whole = plain(BRACKETED_YEAR.sub("", title), MAX_TITLE_CHARS)
    main, aliases = whole, []
    while dated and (found := BRACKETED_END.match(main)):
        main = found["main"]
        aliases.append(_article_first(found["alias"]))
    others = [name for name in (*reversed(aliases), _article_first(whole)) if sum(c.isalnum() for c in name) > 1]
    return tuple(dict.fromkeys((_article_first(main), *others))) if main else ()


def _article_first(title: str) -> str:
    """ "Postino, Il" -> "Il Postino"."""
    found = TRAILING_ARTICLE.match(title)
    if not found:
        return title
    joint = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{joint}{found['rest']}"


def labels(categories: Sequence[str], lower: bool = True) -> tuple[str, ...]:
    """The categories as they read inside a sentence ("Film-Noir" -> "film-noir"), without empty, unknown and unsafe ones.

    `lower`: in lower case, as English has it; German nouns stay as they are written.
    One with characters other than letters, digits and ' & / - is left out: it could end the sentence it stands in.
    """
    kept: dict[str, str] = {}
    for category in categories:
        label = straight(plain(category, MAX_CATEGORY_CHARS)).replace(",", "")
        words = spoken(label)
        if label.replace(",", "") != straight(" ".join(unicodedata.normalize("NFC", category).split())).replace(
            ",", ""
        ):
            continue  # something had to be taken out of it, or it is long
        says_something = any(word not in FUNCTION_WORDS for word in words)
        if says_something and " ".join(words) not in NO_CATEGORY and not orders(label) and SPEAKABLE.fullmatch(label):
            said = " ".join(_lower(word) for word in label.split(" ")) if lower else label
            kept.setdefault(" ".join(words), said)
    return tuple(kept.values())[:MAX_CATEGORIES]


def _lower(word: str) -> str:
    """ "Children's" and "Sci-Fi" in lower case; "DVD" and "iPod" as they are."""
    return word.lower() if all(part[1:].islower() or len(part) == 1 for part in word.split("-") if part) else word


def spoken(text: str) -> tuple[str, ...]:
    """The words and numbers of `text`, lower case, hyphens and slashes apart: "Sci-Fi" -> ("sci", "fi")."""
    return tuple(match.group().lower() for match in WORD.finditer(straight(text)))


WORD = re.compile(r"\d+(?:[.,]\d+)*(?:[^\W\d_]+)?|[^\W\d_]+(?:'[^\W\d_]+)*")
STRAIGHT = str.maketrans("’‘‚“”„«»–—‐‑", '\'\'\'"""""----')


def straight(text: str) -> str:
    """Typographic quotes and dashes, German ones too, as their ASCII ones; the length does not change."""
    return text.translate(STRAIGHT)
