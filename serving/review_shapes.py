"""What people see and say of texts over HTTP, as types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from serving.shapes import Kind

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


class ListedText(msgspec.Struct, frozen=True):
    """A stored text. `status` is "stale" for one that was good until its item changed. `input_hash` is "" for a text that is
    about its item alone."""

    item: str
    title: str
    kind: str
    locale: str
    input_hash: str
    version: int
    status: str
    text: str
    origin: str
    model: str
    written_at: datetime


class TextList(msgspec.Struct, frozen=True):
    """Texts, the newest first; `next` continues the list (null: that was all)."""

    texts: list[ListedText]
    next: str | None


class ReviewAnswer(msgspec.Struct, frozen=True):
    """A text as a reviewer needs it: what is stored, how it stands against the facts of now, and what the template would say.
    `checked`: false where the checker cannot know, since the text is about more than its item. `refused`: a machine's tries
    that the checker refused on the way. Decide on this `version`."""

    item: str
    kind: str
    locale: str
    input_hash: str
    version: int
    status: str
    text: str
    origin: str
    model: str
    violations: list[ViolationAnswer]
    checked: bool
    facts: dict[str, Any]
    template: str | None
    refused: list[dict[str, Any]]


class ChangeAnswer(msgspec.Struct, frozen=True):
    """One change of a text: by whom and when, what it was (null: there was none) and became. `action`: write (a machine),
    approve, edit, reject. `overruled`: what the checker held against a text that a person published nonetheless."""

    version: int
    at: datetime
    who: str
    action: str
    status_before: str | None
    status: str
    text_before: str | None
    text: str
    origin: str
    model: str
    reason: str
    overruled: list[ViolationAnswer]


class ChangeList(msgspec.Struct, frozen=True):
    """Changes of a text, the newest first; `next` is the `before` that continues the list (null: that was all)."""

    changes: list[ChangeAnswer]
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
    """Replace the `version` that was seen by a person's own text."""

    text: Annotated[str, Meta(min_length=1, max_length=2_000, pattern="^[^\\x00]+$")]


class RejectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reject the `version` that was seen, and say why."""

    version: Version
    reason: Annotated[str, Meta(min_length=1, max_length=1_000, pattern="^[^\\x00]+$")]
    kind: Kind = "description"
    locale: Locale | None = None
    input_hash: Input = ""


class Decided(msgspec.Struct, frozen=True):
    """The text after the decision, at its new version."""

    item: str
    kind: str
    locale: str
    input_hash: str
    version: int
    status: str
    text: str
    origin: str
