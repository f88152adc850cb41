"""What a request for a text is about, as the facts of its kind: the parts that each kind takes, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core.errors import InvalidRequest
from core.settings import Settings
from models.content import CONTENT_KINDS
from models.content.answer import QuestionFacts
from models.content.because import BecauseFacts
from models.content.kind import ContentKind, Facts, ItemFacts, ItemsFacts, Style, house_style
from models.content.label import TextFacts
from models.content.review_summary import ReviewFacts
from models.content.translation import TranslationFacts
from serving.text_shapes import ContentRequest

ItemOf = Callable[[str], ItemFacts]  # raises NotFound

PARTS: dict[str, tuple[str, ...]] = {
    "description": ("item",), "headline": ("item",), "email_subject": ("items",), "push_text": ("items",),
    "theme": ("items",), "because": ("item", "history"), "review_summary": ("item", "reviews"),
    "answer": ("item", "question"), "label": ("text",), "translation": ("of", "locale"),
}  # fmt: skip
ALL_PARTS = tuple(dict.fromkeys(part for parts in PARTS.values() for part in parts if part != "locale"))
TRANSLATED = tuple(kind for kind in PARTS if kind not in ("label", "translation"))


def kind_asked(asked: ContentRequest) -> ContentKind[Any]:
    """The kind of a request whose parts are all there. Raises InvalidRequest naming what is missing, or is not taken."""
    taken = list(_parts(asked.kind, "kind", tuple(PARTS)))
    optional: tuple[str, ...] = ()
    if asked.kind == "translation" and asked.of is not None:
        taken += _parts(asked.of, "of", TRANSLATED)
        optional = ("text",)
    missing = [part for part in taken if getattr(asked, part) is None]
    if missing:
        raise InvalidRequest(f"{missing[0]}: the kind {asked.kind!r} needs {', '.join(taken)}")
    for part in ALL_PARTS:
        if getattr(asked, part) is not None and part not in (*taken, *optional):
            raise InvalidRequest(
                f"{part}: the kind {asked.kind!r} takes {', '.join((*taken, *optional))}; leave it out"
            )
    return CONTENT_KINDS[asked.kind]


def style_asked(asked: ContentRequest, settings: Settings) -> Style:
    """The namespace's style, with what the request says otherwise."""
    house = house_style(settings, asked.locale)
    return replace(house, tone=asked.style.tone or house.tone, length=asked.style.length or house.length)


def facts_asked(asked: ContentRequest, style: Style, item_of: ItemOf) -> Facts:
    """What the text is about. Raises NotFound for an item that is not in the catalogue."""
    kind = asked.kind
    if kind != "translation":
        return _facts(kind, asked, style, item_of)
    of = str(asked.of)
    about = _facts(of, asked, style, item_of)
    source = asked.text or CONTENT_KINDS[of].fallback(about, Style(about.locale, length=style.length))
    return TranslationFacts(of, about, source, str(style.locale))


def _parts(kind: str, name: str, there_are: tuple[str, ...]) -> tuple[str, ...]:
    if kind not in there_are:
        raise InvalidRequest(f"{name}: {kind!r} is not a kind of text here; choose from {', '.join(there_are)}")
    return PARTS[kind]


def _facts(kind: str, asked: ContentRequest, style: Style, item_of: ItemOf) -> Facts:
    locale = str(style.locale)
    if kind == "label":
        return TextFacts(str(asked.text), locale)
    if kind in ("email_subject", "push_text", "theme"):
        items = tuple(item_of(item) for item in asked.items or ())
        return ItemsFacts(items, items[0].locale)
    about = item_of(str(asked.item))
    if kind == "because":
        history = tuple((item_of(one.item), one.kind) for one in asked.history or ())
        return BecauseFacts(about, history, "", about.locale)
    if kind == "review_summary":
        return ReviewFacts(about, tuple(asked.reviews or ()), locale)
    return QuestionFacts(about, str(asked.question)) if kind == "answer" else about
