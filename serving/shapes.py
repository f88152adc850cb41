"""What goes in and out over HTTP, as types: OpenAPI is generated from them (DESIGN section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MAX_LIMIT = 100
MAX_RANKED = 500
MAX_EVENTS = 500
MAX_HISTORY = 500

# No NUL: neither Postgres nor an event can hold it.
Id = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[^\\x00]+$")]
Short = Annotated[str, Meta(max_length=256, pattern="^[^\\x00]*$")]
Surface = Annotated[str, Meta(max_length=64, pattern="^[^\\x00]+$")]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Share = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[datetime, Meta(tz=True)]


class Reason(msgspec.Struct, frozen=True):
    """Why an item is there: the items of the history that carried it (none for popular ones), and a sentence."""

    because: list[str]
    text: str


class Recommended(msgspec.Struct, frozen=True):
    """One item of an answer. Scores compare within one answer only."""

    item: str
    score: float
    source: str
    reason: Reason | None = None


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


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Something the user did, told with the request rather than through the stream. `time` defaults to now."""

    item: Id
    kind: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,47}$")] = "view"
    time: Moment | None = None
    value: float | None = None


class RecommendationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whom (nobody known when `user` is absent), what they just did, and what is wanted."""

    user: Id | None = None
    session: Short | None = None
    history: Annotated[list[Done], Meta(max_length=MAX_HISTORY)] = []
    limit: Limit = 10
    surface: Surface = "default"
    category: Short | None = None
    exclude_seen: bool = True
    diversity: Share = 0.0
    explain: bool = True
    context: dict[str, Any] = {}


class RankRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Order these items for this user."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=MAX_RANKED)]
    user: Id | None = None
    session: Short | None = None
    history: Annotated[list[Done], Meta(max_length=MAX_HISTORY)] = []
    surface: Surface = "default"
    exclude_seen: bool = False
    explain: bool = True
    context: dict[str, Any] = {}


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
    """Everything stored of a user, events oldest first; `events` opens as a table (pandas.DataFrame(answer["events"]))."""

    user: str
    attributes: dict[str, Any] | None
    events: list[dict[str, Any]]


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


class ContentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write a text now."""

    item: Id
    kind: str = "description"
    locale: Annotated[str, Meta(min_length=1, max_length=35)] = "en"


class RegenerateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write missing and stale texts soon, in the background."""

    kind: str = "description"
    limit: Annotated[int, Meta(ge=1, le=100_000)] | None = None


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
