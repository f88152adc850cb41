"""What a caller may ask of a list: the bodies of requests for recommendations, and what surfaces are set to."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.settings import Locale
from serving.expression import MAX_LENGTH
from serving.shapes import MAX_LIMIT, Id, Kind, Moment, Short

MAX_RANKED = 500
MAX_HISTORY = 500
MAX_HIDDEN = 500

Surface = Annotated[str, Meta(max_length=64, pattern="^[^\\x00]+$")]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Share = Annotated[float, Meta(ge=0, le=1)]
Filter = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH, pattern="^[^\\x00]+$")]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Something the user did, told with the request rather than through the stream. `time` defaults to now."""

    item: Id
    kind: Kind = "view"
    time: Moment | None = None
    value: float | None = None


class BoostState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that the filter names count `factor` times as much: above 1 they rise, below 1 they sink."""

    filter: Filter
    factor: Annotated[float, Meta(gt=0, le=100)]


class PinState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item that is to stand at a place, 1 being the first, as far as it may be shown."""

    item: Id
    position: Annotated[int, Meta(ge=1, le=MAX_LIMIT)]


class Wishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a list is to be like; what is null is as the surface says (HEADWATER_SURFACES), else as by default: 10 items, not
    seen ones, with reasons. `hide` are items not to be shown; `seen_kinds` the kinds of interaction that count as having seen an
    item, all where it is empty; `exploration` the share of places left to chance; `locale` the language of the reasons."""

    limit: Limit | None = None
    category: Short | None = None
    filter: Filter | None = None
    exclude_seen: bool | None = None
    seen_kinds: Annotated[list[Kind], Meta(max_length=50)] | None = None
    hide: Annotated[list[Id], Meta(max_length=MAX_HIDDEN)] | None = None
    diversity: Share | None = None
    exploration: Share | None = None
    explain: bool | None = None
    locale: Locale | None = None
    boosts: Annotated[list[BoostState], Meta(max_length=20)] | None = None
    pins: Annotated[list[PinState], Meta(max_length=20)] | None = None


class RecommendationRequest(Wishes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whom (nobody known when `user` is absent), what they just did, and what is wanted."""

    user: Id | None = None
    session: Short | None = None
    history: Annotated[list[Done], Meta(max_length=MAX_HISTORY)] = []
    surface: Surface = "default"
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
    locale: Locale | None = None
    context: dict[str, Any] = {}
