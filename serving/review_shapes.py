"""What people see and say of texts over HTTP, as types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from core.store.reviews import Change
from serving.shapes import Kind
from serving.text_shapes import EventOf

Listing = Literal["draft", "verified", "rejected", "approved", "edited", "stale"]
Said = Annotated[str, Meta(max_length=1_000, pattern="^[^\\x00]*$")]
Locale = Annotated[str, Meta(min_length=1, max_length=35, pattern="^[^\\x00]+$")]
Input = Annotated[str, Meta(max_length=64, pattern="^[0-9a-f]*$")]
Version = Annotated[int, Meta(ge=1, le=2_147_483_647)]


class ViolationAnswer(msgspec.Struct, frozen=True):
    """What speaks against a text: the words at [start, end) of it, and why. `rule` is one stable word."""

    span: tuple[int, int]
    claim: str
    reason: str
    rule: str


class TextState(msgspec.Struct, frozen=True, kw_only=True):
    """A stored text. `status` is "stale" for one that was good until its item changed. `input_hash` is "" for a text that is
    about its item alone."""

    item: str
    kind: str
    locale: str
    input_hash: str
    version: int
    status: str
    text: str
    origin: str
    model: str


class ListedText(TextState, frozen=True, kw_only=True):
    """A stored text in a list, with its item's title."""

    title: str
    written_at: datetime


class TextList(msgspec.Struct, frozen=True):
    """Texts, the newest first; `next` continues the list (null: that was all)."""

    texts: list[ListedText]
    next: str | None


class DraftState(msgspec.Struct, frozen=True, kw_only=True):
    """A text that somebody is working on, and what the checker finds in it. Nobody else is shown it."""

    who: str
    text: str
    saved_at: datetime
    violations: list[ViolationAnswer]


class ReviewAnswer(TextState, frozen=True, kw_only=True):
    """A text as a reviewer needs it: what is stored, how it stands against the facts of now, and what the template would say.
    `checked`: false where the checker cannot know what else the text is about. `about`: what it is about beside its item, by ids.
    `refused`: a machine's tries that the checker refused on the way. `drafts`: what people are working on. Decide on this
    `version`; where it is 0, nothing is stored and an edit is the first text."""

    about: dict[str, str]
    violations: list[ViolationAnswer]
    checked: bool
    facts: dict[str, Any]
    template: str | None
    refused: list[dict[str, Any]]
    drafts: list[DraftState]


class ChangeList(msgspec.Struct, frozen=True):
    """Changes of a text, the newest first; `next` is the `before` that continues the list (null: that was all)."""

    changes: list[Change]
    next: int | None


class ApproveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Approve the `version` that was seen. Where the checker finds something: only with `anyway` and a reason."""

    version: Version
    kind: Kind = "description"
    locale: Locale | None = None
    input_hash: Input = ""
    reason: Said = ""
    anyway: bool = False


class EditRequest(ApproveRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replace the `version` that was seen by a person's own text; version 0: none is stored, and this is the first. Of a first
    text of the kind `because`, `carrier` is the item of the past that it names, and what was done with it."""

    version: Annotated[int, Meta(ge=0, le=2_147_483_647)]
    carrier: EventOf | None = None
    text: Annotated[str, Meta(min_length=1, max_length=2_000, pattern="^[^\\x00]+$")]


class DraftRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep a text that is not published yet; an empty one discards what was kept. `carrier` as in an edit."""

    text: Annotated[str, Meta(max_length=2_000, pattern="^[^\\x00]*$")]
    kind: Kind = "description"
    locale: Locale | None = None
    input_hash: Input = ""
    carrier: EventOf | None = None


class RejectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reject the `version` that was seen, and say why."""

    version: Version
    reason: Annotated[str, Meta(min_length=1, max_length=1_000, pattern="^[^\\x00]+$")]
    kind: Kind = "description"
    locale: Locale | None = None
    input_hash: Input = ""


class Decided(TextState, frozen=True, kw_only=True):
    """The text after the decision, at its new version."""
