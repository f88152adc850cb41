"""What the checker knows of a language, and which language a text is in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache


def word_set(words: str) -> frozenset[str]:
    """The words of a list written as prose."""
    return frozenset(words.split())


@dataclass(frozen=True)
class Language:
    """The words of one language.

    `parts` are the words that claim nothing, by their part in a sentence; `following` says which part may follow which;
    `claims` name the kind of claim an unsupported word makes; `addressing` speaks to the reader; `numbers` are number words;
    `common` the words that give the language away.
    """

    code: str
    parts: Mapping[str, tuple[str, ...]]
    following: Mapping[str, frozenset[str]]
    claims: Mapping[str, frozenset[str]]
    addressing: frozenset[str]
    numbers: Mapping[str, int]
    common: frozenset[str]

    @cached_property
    def part_of(self) -> dict[str, str]:
        """Phrase -> its part."""
        return {phrase: part for part, phrases in self.parts.items() for phrase in phrases}

    @cached_property
    def function_words(self) -> frozenset[str]:
        """Every single word that is one of `parts` or belongs to a phrase of them."""
        return frozenset(word for phrase in self.part_of for word in phrase.split())

    @cached_property
    def verbs(self) -> frozenset[str]:
        """What makes a sentence of a line."""
        return frozenset(
            phrase for part in ("be", "joins", "came", "belongs", "released") for phrase in self.parts.get(part, ())
        )


@lru_cache(1000)
def base(locale: str) -> str:
    """ "de" of "de-AT" and "DE_at"; "en" of an empty one."""
    code = re.split(r"[-_]", locale.lower())[0]
    return {"": "en", "eng": "en", "deu": "de", "ger": "de"}.get(code, code)


MIN_TELLING_WORDS = 2


def detected(words: list[str], languages: Mapping[str, Language]) -> str | None:
    """The code of the language most of whose own common words stand among `words` (lower case); None when few or equal."""
    counts: dict[str, int] = {}
    for code, language in languages.items():
        others = frozenset().union(*(other.common for other in languages.values() if other.code != code))
        counts[code] = sum(word in language.common and word not in others for word in words)
    best = max(counts, key=lambda code: counts[code])
    rest = max((count for code, count in counts.items() if code != best), default=0)
    return best if counts[best] >= MIN_TELLING_WORDS and counts[best] > rest else None
