"""A kind of text (description, headline, ...): the facts it may use, how it is asked for, checked and replaced.

A new kind is one file with a ContentKind, a line in models/content/__init__.py and a test.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import msgspec

from models.content import titles
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
    def labels(self) -> tuple[str, ...]:
        """Its categories as they read inside a sentence (see titles.labels)."""
        return titles.labels(self.categories)


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a text may not be published.

    `span` is [start, end) in the text, `claim` the words there, `reason` a sentence for people, `rule` one stable
    word for metrics: number, name, category, superlative, award, price, negation, claim, form, link, markup, title.
    """

    span: tuple[int, int]
    claim: str
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class Style:
    """How a text should read. `locale` is the language asked for; None takes the language of the facts."""

    locale: str | None = None


class ContentKind(Protocol):
    """One kind of generated text."""

    @property
    def name(self) -> str:
        """Its name on the outside: "description"."""

    @property
    def max_tokens(self) -> int:
        """Tokens a generation of this kind may take."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a generation of this kind."""

    @property
    def prompt_hash(self) -> str:
        """Changes whenever the wording of the prompt does: texts written from another prompt are stale."""

    def writable(self, facts: ItemFacts, style: Style) -> str | None:
        """None when a model may be asked; otherwise why the template must speak (language, hostile input)."""

    def prompt(self, facts: ItemFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """What a model is asked about writable facts.

        `rejected` holds the violations of each try that failed; a retry names those of the last.
        """

    def check(self, text: str, facts: ItemFacts) -> list[Violation]:
        """Everything in `text` that `facts` do not support or the kind's form forbids; empty means publishable."""

    def fallback(self, facts: ItemFacts) -> str:
        """The template's text. It passes `check` for every facts, and reads well."""


# Kinds by name; filled in models/content/__init__.py.
CONTENT_KINDS: dict[str, ContentKind] = {}


def facts_hash(facts: ItemFacts) -> str:
    """Hex sha256 of the canonical JSON of `facts`: equal facts, equal hash, in any process and on any machine."""
    fields = {name: getattr(facts, name) for name in ItemFacts.__dataclass_fields__}
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()
