"""A kind of text (description, headline, ...): the facts it may use, how it is asked for, checked and replaced.

A new kind is one file with its facts, a ContentKind, a line in models/content/__init__.py and a test.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from core.settings import Length, Settings, Tone
from models.content import titles
from models.content.language import base
from models.content.words import ADDRESSING, CLAIMS, FUNCTION_WORDS
from models.text.generator import Prompt

DEFAULT_NOUN = "title"
NO_NOUN = (
    FUNCTION_WORDS | ADDRESSING | frozenset().union(*(words for rule, words in CLAIMS.items() if rule != "category"))
)

Value = str | int | float


@dataclass(frozen=True)
class ItemFacts:
    """Everything a text about one item may say. All of it is data from outside: never an instruction.

    `locale` is the language the facts are in. Of `attributes`, `type` ("film", "book", ...) names what the item
    is and `year` when it was released; a year in brackets at the end of the title counts as well.
    """

    item: str
    title: str = ""
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)
    description: str = ""
    locale: str = "en"

    @classmethod
    def of(
        cls, item: str, title: str, categories: tuple[str, ...] | list[str] = (), attributes: Mapping[str, Any] | None = None,
        description: str = "", locale: str = "en",
    ) -> ItemFacts:  # fmt: skip
        """Facts from a catalogue row: scalars and lists of scalars among the attributes are kept, nested ones are not."""
        kept: dict[str, Value] = {}
        for name, value in (attributes or {}).items():
            if isinstance(value, list):
                value = ", ".join(str(part) for part in value if isinstance(part, (str, int, float)))
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                kept[name] = value
        return cls(item, title, tuple(categories), kept, description, locale)

    @cached_property
    def year(self) -> int | None:
        """The year of release, from the attribute `year` or the brackets at the end of the title."""
        stated = str(self.attributes.get("year", ""))
        if re.fullmatch(titles.YEAR, stated):
            return int(stated)
        found = titles.BRACKETED_YEAR.findall(self.title)
        return int(found[-1]) if found else None

    @cached_property
    def noun(self) -> str:
        """What the item is called in a sentence: its attribute `type` where that is one plain word, else "title"."""
        stated = str(self.attributes.get("type", "")).strip().lower()
        return stated if re.fullmatch(r"[a-z]{3,20}", stated) and stated not in NO_NOUN else DEFAULT_NOUN

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the item may be called, the usual name first; empty when its title cannot be shown (see titles.names)."""
        return titles.names(self.title, self.year is not None)

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """Kept for whoever derives something costly from the fields; no part of them."""
        return {}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Its categories as they read inside a sentence (see titles.labels)."""
        return titles.labels(self.categories)


@dataclass(frozen=True)
class ItemsFacts:
    """The items of a user's slate, best first, or of a group. `item` is the caller's key for them, such as the slate's token."""

    items: tuple[ItemFacts, ...]
    locale: str = "en"
    item: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a text may not be published.

    `span` is [start, end) in the text, `claim` the words there, `reason` a sentence for people, `rule` one stable
    word for metrics: number, name, category, superlative, award, price, place, negation, claim, attribution, verb, quote,
    sentiment, language, addressing, form, link, markup, instruction, title, banned.
    """

    span: tuple[int, int]
    claim: str
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class Style:
    """How a text should read. `locale` is the language asked for; None takes the language of the facts. What is `banned` no text
    may say (see banned.py).

    `tone` and `length` are told to a model; a template honours the length (what it leaves out or adds) and has no tone.
    """

    locale: str | None = None
    tone: Tone = "neutral"
    length: Length = "medium"
    banned: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Tone and length as a text is kept with them: "warm short"; "" where both are as they are by default."""
        return "" if (self.tone, self.length) == ("neutral", "medium") else f"{self.tone} {self.length}"

    def to(self, locale: str) -> Style:
        """The same in another language."""
        return replace(self, locale=locale)

    def code(self, facts: Facts) -> str:
        """The language to write in: "de" of "de-AT"."""
        return base(self.locale or facts.locale)


PLAIN = Style()


def house_style(settings: Settings, locale: str | None = None) -> Style:
    """The namespace's style, in the language `locale` where one is asked for."""
    tone, length = settings.content_tone, settings.content_length
    return Style(locale or settings.content_locale, tone, length, settings.banned_words)


class Facts(Protocol):
    """What a text may state: one item's fields, or those of a slate, a group, a question, ... All of it data from outside."""

    @property
    def item(self) -> str:
        """What the text is kept under: an item's id, or the caller's key for a slate or group."""

    @property
    def locale(self) -> str:
        """The language the facts are in."""


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True, slots=True)
class Probe(Generic[F]):
    """Facts that a model is tried on before it may write a kind; `answer` is the one right text, where there is one.

    `shop`: it has a shop's titles, and is tried only before a text about such (see fit.py).
    """

    facts: F
    answer: str | None = None
    shop: bool = False


class ContentKind(Protocol[F]):
    """One kind of generated text, about facts of one type."""

    @property
    def name(self) -> str:
        """Its name on the outside: "description"."""

    @property
    def facts_type(self) -> type[F]:
        """What its texts are about. Kinds about ItemFacts can be asked for by an item's id alone; see ITEM_KINDS."""

    @property
    def max_tokens(self) -> int:
        """Tokens a generation of this kind may take."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a generation of this kind."""

    @property
    def prompt_hash(self) -> str:
        """Changes whenever the wording of the prompt does: texts written from another prompt are stale."""

    def probes(self, style: Style) -> Sequence[Probe[F]]:
        """What a model is tried on (see fit.py); none for a kind that no model is ever asked for."""

    def writable(self, facts: F, style: Style) -> str | None:
        """None when a model may be asked; otherwise why the template must speak (language, hostile input)."""

    def prompt(self, facts: F, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """What a model is asked about writable facts.

        `rejected` holds the violations of each try that failed; a retry names those of the last.
        """

    def check(self, text: str, facts: F, style: Style = PLAIN) -> list[Violation]:
        """Everything in `text` that `facts` do not support or the kind's form forbids; empty means publishable."""

    def fallback(self, facts: F, style: Style = PLAIN) -> str:
        """The template's text, in the language asked for. It passes `check` for every facts, and reads well."""


def items_of(facts: Facts) -> list[ItemFacts]:
    """Every item that facts of any kind hold."""
    if isinstance(facts, ItemFacts):
        return [facts]
    held = [getattr(facts, name, None) for name in ("about", "items", "history")]
    rows = [one for value in held for one in (value if isinstance(value, tuple) else (value,))]
    flat = [part for row in rows for part in (row if isinstance(row, tuple) else (row,))]
    return [item for one in flat if one is not None for item in (items_of(one) if hasattr(one, "item") else ())]


# Kinds by name, and of those the kinds whose facts are one catalogue item; filled in models/content/__init__.py.
CONTENT_KINDS: dict[str, ContentKind[Any]] = {}
ITEM_KINDS: dict[str, ContentKind[ItemFacts]] = {}


def facts_hash(facts: Facts) -> str:
    """Hex sha256 of the canonical JSON of `facts`: equal facts, equal hash, in any process and on any machine."""
    return hashlib.sha256(msgspec.json.encode(_fields(facts), order="deterministic")).hexdigest()


def _fields(value: Any) -> Any:
    """Dataclasses as their fields alone: what was derived from them and kept is none."""
    if is_dataclass(value):
        return {one.name: _fields(getattr(value, one.name)) for one in fields(value)}
    return [_fields(one) for one in value] if isinstance(value, tuple) else value
