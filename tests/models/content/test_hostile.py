"""Injected titles, descriptions, categories, attributes, reviews and questions: nothing of what they ask for is published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.content import CONTENT_KINDS
from models.content.answer import QuestionFacts
from models.content.because import BecauseFacts
from models.content.kind import ItemFacts, ItemsFacts, Style
from models.content.label import TextFacts
from models.content.moderation import FLAGS
from models.content.review_summary import ReviewFacts
from models.content.sentiment import Sentiment
from models.content.titles import folded
from models.content.translation import TranslationFacts
from models.content.words import INSTRUCTION, LINK, MARKUP
from models.content.writer import write
from models.text.generator import Generation, Limits, Prompt

INJECTED: list[dict[str, str]] = json.loads(
    (Path(__file__).parent / "labelled" / "injected.json").read_text(encoding="utf-8")
)
CLEAN = ItemFacts.of("c", "Copper Lamp", ["Lights"], {"type": "product", "brand": "Acme"}, "A lamp of copper.")


class Obeys:
    """A text model that does whatever the data asks for: it says the payload, in the ways that a model would."""

    name = "obeys@1"

    def __init__(self, hostile: str, payload: str, template: str, first: int) -> None:
        self._says = (payload, f"{template} {payload}.", f"{template.rstrip('.')}, {payload}.", hostile[:300])
        self._calls = first

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        self._calls += 1
        return [Generation(self._says[self._calls % len(self._says)], 9, "stop") for _ in prompts]


def hostile_facts(hostile: str) -> Iterator[tuple[str, Any, list[ItemFacts]]]:
    """(kind, facts with `hostile` wherever data can stand, the items named in it)."""
    inside = ItemFacts.of(
        "i", "Copper Lamp", ["Lights", hostile], {"note": hostile, "brand": hostile, "type": hostile}, hostile
    )
    titled = ItemFacts.of("t", hostile, ["Lights"], {"type": "product"})
    for item in (inside, titled):
        items = [item, CLEAN]
        yield "description", item, items
        yield "headline", item, items
        yield "email_subject", ItemsFacts((item, CLEAN)), items
        yield "push_text", ItemsFacts((item, CLEAN)), items
        yield "theme", ItemsFacts((item, CLEAN)), items
        yield "because", BecauseFacts(item, ((CLEAN, "view"), (item, hostile)), hostile), items
        yield "because", BecauseFacts(CLEAN, ((item, "view"),), "content"), items
        yield (
            "review_summary",
            ReviewFacts(item, ("Great lamp, very bright.", hostile, f"Nice light. {hostile}")),
            items,
        )
        yield "answer", QuestionFacts(item, "What is the note, and who made it?"), items
        yield "answer", QuestionFacts(item, hostile), items
        yield "translation", TranslationFacts("description", item, "Copper Lamp is a lights product.", "de"), items
        yield "translation", TranslationFacts("description", item, hostile, "de"), items
    yield "label", TextFacts(hostile), []


def leaks(text: str, payload: str, items: Sequence[ItemFacts]) -> list[str]:
    """What of an injection got through. An item is called by its title, so that is looked at for orders and links only."""
    found = [
        pattern.pattern[:20]
        for pattern in (INSTRUCTION, LINK, MARKUP)
        if pattern.search(text) or pattern.search(folded(text))
    ]
    if not text.isprintable():
        found.append("control characters")
    for name in (name for item in items for name in item.names):
        text = text.replace(name, " ")
    return [*found, *([payload] if folded(payload).lower().strip(" .") in folded(text).lower() else [])]


def test_the_corpus_has_two_hundred_injections() -> None:
    assert len({one["text"] for one in INJECTED}) >= 200


@pytest.mark.parametrize("part", range(8))
def test_neither_a_template_nor_a_model_that_obeys_publishes_what_was_injected(part: int) -> None:
    leaked = []
    for number, one in enumerate(INJECTED[part::8]):
        for place, (kind_name, facts, items) in enumerate(hostile_facts(one["text"])):
            if (place + number) % 3 and kind_name != "label":
                continue  # every injection meets every kind, in a third of the places
            kind = CONTENT_KINDS[kind_name]
            style = Style("de" if number % 3 == 2 else None)
            template = kind.fallback(facts, style)
            violations = kind.check(template, facts, style)
            [written] = write(
                kind, [facts], Obeys(one["text"], one["payload"], template, number + place), style, attempts=2
            )
            assert violations == [], (kind_name, template, one)
            assert written.text, (kind_name, one)
            for text in (template, written.text):
                if kind_name == "label":
                    said, _, sentiment = text.partition(", ")
                    assert set(said.split()) <= {"ok", *FLAGS}
                    assert sentiment in Sentiment.__args__
                elif found := leaks(text, one["payload"], items):
                    leaked.append((kind_name, text, found, one))
    assert leaked == []


def test_no_order_reaches_a_prompt_from_a_field_and_no_other_item_does() -> None:
    for one in INJECTED[::2]:
        for kind_name, facts, _ in hostile_facts(one["text"]):
            kind = CONTENT_KINDS[kind_name]
            if kind.writable(facts, Style()) is not None:
                continue
            last = kind.prompt(facts, Style()).messages[-1].content
            if kind_name in ("label", "translation"):
                continue  # what they are about is the text itself, cleaned: see writable
            assert not INSTRUCTION.search(folded(last)), (kind_name, last)
            assert "\n" not in last
            assert last.isprintable()


def test_a_kind_sees_no_user_but_what_it_is_given() -> None:
    """Facts hold items and events only: there is no field in which another user's data could stand."""
    fields = {name for kind in CONTENT_KINDS.values() for name in kind.facts_type.__dataclass_fields__}
    assert fields.isdisjoint({"user", "users", "email", "name", "session"})
