"""What goes in and out over HTTP, as types: OpenAPI is generated from them (DESIGN section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MAX_LIMIT = 100
MAX_EVENTS = 500

# No NUL: neither Postgres nor an event can hold it.
Id = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[^\\x00]+$")]
Short = Annotated[str, Meta(max_length=256, pattern="^[^\\x00]*$")]
Kind = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,47}$")]
Moment = Annotated[datetime, Meta(tz=True)]


class Reason(msgspec.Struct, frozen=True, gc=False):  # answers are kept: they are not to be looked through for garbage
    """Why an item is there: the items of the history that carried it (none for popular ones), and a sentence."""

    because: list[str]
    text: str


class Recommended(msgspec.Struct, frozen=True, gc=False):
    """One item of an answer. Scores compare within one answer only. `propensity` is the probability with which it was shown at
    this place: 1 but where a share of the places is left to chance."""

    item: str
    score: float
    source: str
    reason: Reason | None = None
    propensity: float = 1.0


class Answer(msgspec.Struct, frozen=True):
    """A list of items for a user, best first. `fallback` is null when a personal model answered, else the step of the ladder
    that did: "item-item", "popular", "static", or "session" when only what came with the request could be read."""

    slate: str
    user: str | None
    items: list[Recommended]
    model: dict[str, str]
    fallback: str | None
    took_ms: float


class RankAnswer(Answer, frozen=True):
    """The given items in the user's order; `left_out` are those that may not be shown."""

    left_out: list[str] = []


class ItemList(msgspec.Struct, frozen=True):
    """A list of items that is the same for everyone."""

    items: list[Recommended]
    model: dict[str, str]
    fallback: str | None
    took_ms: float


class SimilarUser(msgspec.Struct, frozen=True):
    """A user who did much the same: `score` from 0 to 1, and the shared items that count most."""

    user: str
    score: float
    shared: list[str]


class SimilarUsers(msgspec.Struct, frozen=True):
    """Users like one, the most alike first."""

    users: list[SimilarUser]
    took_ms: float


class ShownItem(msgspec.Struct, frozen=True):
    """An item of a slate: whose idea it was, and with what probability it stood there. `position` counts from 1."""

    position: int
    item: str
    source: str
    propensity: float


class SlateEvent(msgspec.Struct, frozen=True):
    """What came with a slate's token afterwards. `item` is null for an impression that the application reported."""

    type: str
    time: datetime
    item: str | None
    value: float | None
    position: int | None


class SlateAnswer(msgspec.Struct, frozen=True):
    """What was shown to whom, and what became of it; `truncated`: there are more events than these."""

    slate: str
    shown_at: datetime
    user: str | None
    session: str | None
    surface: str
    fallback: str | None
    model: dict[str, str]
    items: list[ShownItem]
    events: list[SlateEvent]
    truncated: bool


class ClickThrough(msgspec.Struct, frozen=True):
    """Of the items that a source brought to a surface: how many were shown, and how many of these were followed by an
    interaction of the kinds asked for with the slate's token."""

    surface: str
    source: str
    shown: int
    followed: int
    rate: float


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event (CloudEvents 1.0, names of DESIGN section 4). What is absent is filled in: an id, so that the event cannot be
    sent again without being counted twice; "/v1/events" as source; now as time."""

    type: str
    data: dict[str, Any]
    id: str | None = None
    source: str = "/v1/events"
    time: str | None = None
    specversion: str = "1.0"


class Accepted(msgspec.Struct, frozen=True):
    """The broker has acknowledged these events; they are visible once ingested, usually well within a second."""

    accepted: int
    ids: list[str]


class ItemState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole state of an item; what is absent takes its default."""

    title: str = ""
    description: str = ""
    categories: list[str] = []
    attributes: dict[str, Any] = {}
    available: bool = True
    hidden: bool = False
    published_at: Moment | None = None
    expires_at: Moment | None = None
    locale: str = "en"


class ItemAnswer(msgspec.Struct, frozen=True):
    """An item as the catalogue knows it, and whether it may be recommended now."""

    item: str
    title: str
    description: str
    categories: list[str]
    attributes: dict[str, Any]
    available: bool
    hidden: bool
    published_at: datetime | None
    expires_at: datetime | None
    locale: str
    changed_at: datetime
    servable: bool


class UserState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole set of a user's attributes."""

    attributes: dict[str, Any] = {}


class UserAnswer(msgspec.Struct, frozen=True):
    """What is known of a user: attributes, and how many of the newest interactions are read for recommendations."""

    user: str
    attributes: dict[str, Any]
    interactions: int


class UserExport(msgspec.Struct, frozen=True):
    """Everything stored of a user, events oldest first; `events` opens as a table (pandas.DataFrame(answer["events"])).

    `dead_letters` are refused messages that name the user.
    """

    user: str
    attributes: dict[str, Any] | None
    events: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]


class ContentAnswer(msgspec.Struct, frozen=True):
    """A text about an item. `origin`: model, template or person; the template speaks where nothing else true is stored.
    `stale`: a text is stored, but its item has changed since."""

    item: str
    kind: str
    locale: str
    text: str
    status: str
    origin: str
    model: str
    stale: bool


class JobStarted(msgspec.Struct, frozen=True):
    """A run that was asked for."""

    id: int
    name: str


class JobRunAnswer(msgspec.Struct, frozen=True):
    """One run of a job."""

    id: int
    name: str
    status: str
    attempts: int
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class VersionAnswer(msgspec.Struct, frozen=True):
    """One trained model. `serving`: this process answers with it."""

    name: str
    version: int
    state: str
    serving: bool
    trained_until: datetime | None
    created_at: datetime
    promoted_at: datetime | None
    metrics: dict[str, Any]
    verdict: str
    code_revision: str
    snapshot: str


class PromoteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version is to go live."""

    version: Annotated[int, Meta(ge=1, le=2_147_483_647)]


class LiveVersion(msgspec.Struct, frozen=True):
    """The version that is live now."""

    name: str
    version: int


class Health(msgspec.Struct, frozen=True):
    """This process answers."""

    status: str


class Readiness(msgspec.Struct, frozen=True):
    """Whether there is something to serve, from what, and how old the catalogue in memory is (null: never read)."""

    ready: bool
    models: dict[str, int]
    items: int
    catalogue_age_s: float | None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong (RFC 9457). `code` is a stable word, `detail` says what to do, `errors` names every part at fault."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retriable: bool
    errors: list[dict[str, Any]] = []
