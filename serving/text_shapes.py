"""What POST /v1/content takes and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from core.settings import Length, Locale, Tone
from serving.shapes import ContentAnswer, Id, Kind

MAX_ITEMS = 20
MAX_EVENTS = 20
MAX_REVIEWS = 50
MAX_REVIEW_CHARS = 1000
MAX_QUESTION_CHARS = 300
MAX_TEXT_CHARS = 4000

Review = Annotated[str, Meta(max_length=MAX_REVIEW_CHARS)]


class EventOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that was done with an item: what a line of the kind `because` speaks of."""

    item: Id
    kind: Kind = "view"


class StyleState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the text is to read; what is null is as the namespace's settings say."""

    tone: Tone | None = None
    length: Length | None = None


class ContentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write a text now. Which parts a kind takes is in docs/content.md; the others are left out.

    A `translation` takes the parts of the kind `of` that it translates, and `text`, where that is not what the template says.
    `deadline_ms` and `locale` are as the settings say where they are null. `stream` asks for events while it is written.
    """

    kind: Annotated[str, Meta(max_length=64)] = "description"
    item: Id | None = None
    items: Annotated[list[Id], Meta(min_length=1, max_length=MAX_ITEMS)] | None = None
    history: Annotated[list[EventOf], Meta(max_length=MAX_EVENTS)] | None = None
    question: Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION_CHARS)] | None = None
    reviews: Annotated[list[Review], Meta(min_length=1, max_length=MAX_REVIEWS)] | None = None
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)] | None = None
    of: Annotated[str, Meta(max_length=64)] | None = None
    locale: Locale | None = None
    style: StyleState = StyleState()
    deadline_ms: Annotated[int, Meta(ge=1)] | None = None
    stream: bool = False


class WrittenAnswer(ContentAnswer, frozen=True):
    """A text written now. `note` says why the template spoke, where it did; `attempts` counts the model's tries; `stored` is
    whether `GET /v1/items/{item_id}/content` (of `because`: recommendations) has it from now on. `item` is empty for a text that
    is not about one. `retry_after_s`: the tokens that models may write in this hour are spent, and a model is asked again in so
    many seconds; 0: they are not."""

    note: str = ""
    attempts: int = 0
    stored: bool = False
    retry_after_s: int = 0
