"""Texts before people: list them, see what speaks against one, approve, edit, reject, and read what was changed by whom."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from core.errors import InvalidRequest, NotFound
from core.store.catalogue import Item
from core.store.contents import Content
from core.store.reviews import Decision, Listed, Place
from models.content.about import OF_ITEM, FromStore, because_of, facts_about, input_hash_of, kind_of
from models.content.kind import house_style
from models.content.review import Given, as_dicts, decide, listed, standing
from serving.problems import documented
from serving.review_shapes import (
    ApproveRequest,
    ChangeList,
    Decided,
    EditRequest,
    ListedText,
    Listing,
    RejectRequest,
    ReviewAnswer,
    TextList,
    TextState,
    ViolationAnswer,
)  # fmt: skip
from serving.routes.content import TAGS, WantedLocale
from serving.routes.parameters import CONTENT_WRITE, NO_NUL, ItemId, Kind, Limit, Serving, Who
from serving.service import Service, run

NEVER = datetime.min.replace(tzinfo=UTC)

OfKind = Annotated[
    str | None, QueryParameter(max_length=64, pattern=NO_NUL, required=False, description="Only texts of this kind.")
]
OfLocale = Annotated[
    str | None, QueryParameter(max_length=35, pattern=NO_NUL, required=False, description="Only in this language.")
]
OfStatus = Annotated[
    Listing | None,
    QueryParameter(required=False, description="`stale`: was good until its item changed. A good one may yet be so."),
]
Words = Annotated[
    str | None,
    QueryParameter(max_length=256, pattern=NO_NUL, required=False, description="An item's id, or part of its title."),
]
After = Annotated[
    str | None, QueryParameter(max_length=2_000, required=False, description="`next` of the list that this continues.")
]
InputHash = Annotated[
    str,
    QueryParameter(max_length=64, pattern="^[0-9a-f]*$", description="Of a text about more than its item: of what else."),
]  # fmt: skip
Before = Annotated[
    int | None, QueryParameter(ge=1, le=2_147_483_647, required=False, description="Only changes before this version.")
]


@get("/content", opt=CONTENT_WRITE, responses=documented(), tags=TAGS, summary="Texts for people to look at")
async def list_texts(
    service: Serving, status: OfStatus = None, kind: OfKind = None, locale: OfLocale = None, q: Words = None,
    limit: Limit = 50, after: After = None,
) -> TextList:  # fmt: skip
    """The newest first. A page may hold fewer than `limit` where outdated texts turn out to be as true as before."""
    place = None if after is None else place_of(after)
    return await run(
        service.threads.reports, texts_of, service, status=status, kind=kind, locale=locale, search=q or "", limit=limit,
        after=place,
    )  # fmt: skip


@get(
    "/items/{item_id:str}/content/review", opt=CONTENT_WRITE, responses=documented(404), tags=TAGS,
    summary="A text, and what speaks against it",
)  # fmt: skip
async def get_review(
    service: Serving, item_id: ItemId, kind: Kind = "description", locale: WantedLocale = None, input_hash: InputHash = ""
) -> ReviewAnswer:  # fmt: skip
    """The stored text with the facts of now, and what the checker finds in it."""
    language = locale or service.settings.content_locale
    return await run(service.threads.database, review_of, service, item_id, kind, language, input_hash)


@get(
    "/items/{item_id:str}/content/history", opt=CONTENT_WRITE, responses=documented(404), tags=TAGS,
    summary="Who changed a text, and when",
)  # fmt: skip
async def get_history(
    service: Serving, item_id: ItemId, kind: Kind = "description", locale: WantedLocale = None, input_hash: InputHash = "",
    limit: Limit = 50, before: Before = None,
) -> ChangeList:  # fmt: skip
    """Every change of the text, by machines and people, the newest first."""
    key = (item_id, kind, locale or service.settings.content_locale, input_hash)
    changes = await run(service.threads.database, service.store.reviews.history, *key, limit=limit, before=before)
    if not changes and before is None:
        raise _none_of(*key[:3])
    return ChangeList(changes, changes[-1].version if len(changes) == limit and changes[-1].version > 1 else None)


@post(
    "/items/{item_id:str}/content/approve", status_code=200, opt=CONTENT_WRITE, responses=documented(404, 409), tags=TAGS,
    summary="Approve a text",
)  # fmt: skip
async def approve(service: Serving, who: Who, item_id: ItemId, data: JSONBody[ApproveRequest]) -> Decided:
    """From then on no machine overwrites it. 400 `text_refused` names what the checker finds in it with the facts of now, 409
    `text_changed` what was changed since the version that was seen."""
    decision = Decision("approve", who, data.version, note=data.reason)
    return await _decide(service, item_id, data, Given(decision, data.anyway, data.input_hash))


@post(
    "/items/{item_id:str}/content/edit", status_code=200, opt=CONTENT_WRITE, responses=documented(404, 409), tags=TAGS,
    summary="Replace a text by your own",
)  # fmt: skip
async def edit(service: Serving, who: Who, item_id: ItemId, data: JSONBody[EditRequest]) -> Decided:
    """Checked as a machine's is; what the checker finds is published only with `anyway` and a reason, and markup, links and
    orders to a model never. 409 `text_changed` as for approve."""
    about = because_of(data.carrier.item, data.carrier.kind) if data.carrier is not None else {}
    decision = Decision("edit", who, data.version, text=data.text, note=data.reason, about=about)
    return await _decide(service, item_id, data, Given(decision, data.anyway, input_hash_of(about) or data.input_hash))


@post(
    "/items/{item_id:str}/content/reject", status_code=200, opt=CONTENT_WRITE, responses=documented(404, 409), tags=TAGS,
    summary="Reject a text",
)  # fmt: skip
async def reject(service: Serving, who: Who, item_id: ItemId, data: JSONBody[RejectRequest]) -> Decided:
    """The template speaks until another text is written; the same words are not published again."""
    decision = Decision("reject", who, data.version, note=data.reason)
    return await _decide(service, item_id, data, Given(decision, input_hash=data.input_hash))


def texts_of(service: Service, **wanted: Any) -> TextList:
    """A page of the list of texts, as `models.content.review.listed` takes what is wanted."""
    found, behind = listed(service.store, **wanted)
    return TextList([_listed(one, status) for one, status in found], _cursor(behind) if behind else None)


def review_of(service: Service, item_id: str, kind: str, locale: str, input_hash: str) -> ReviewAnswer:
    """A stored text with its standing; where none is stored, of a kind that its item alone is enough for, version 0 of it.
    Raises NotFound."""
    found, item = (
        service.store.contents.content(item_id, kind, locale, input_hash),
        service.store.catalogue.item(item_id),
    )
    there = item is not None and not item.removed
    if found is None and (not there or kind not in OF_ITEM or input_hash):
        raise _none_of(item_id, kind, locale)
    text, outdated = found or (_nothing(item_id, kind, locale), False)
    around = FromStore(service.store)
    now = standing(text, outdated, item, around)
    if found is None and not now.checked:
        raise _none_of(item_id, kind, locale)
    template = None
    if item is not None and there and now.checked:
        facts = facts_about(kind, item, locale, around, text.about)
        template = kind_of(kind).fallback(facts, house_style(service.settings, locale))
    return ReviewAnswer(
        **_state(text, now.status), about=text.about, violations=_violations(as_dicts(now.violations)), checked=now.checked,
        facts=_facts(item), template=template, refused=text.rejected,
    )  # fmt: skip


def _nothing(item: str, kind: str, locale: str) -> Content:
    """What is stored where nothing is: version 0."""
    return Content(item, kind, locale, "", "none", "", "", "", NEVER, "", 0, [], version=0)


async def _decide(service: Service, item_id: str, asked: ApproveRequest | RejectRequest, given: Given) -> Decided:
    locale = asked.locale or service.settings.content_locale
    text: Content = await run(service.threads.database, decide, service.store, item_id, asked.kind, locale, given)
    return Decided(**_state(text, text.status))


def _listed(one: Listed, status: str) -> ListedText:
    return ListedText(**_state(one.content, status), title=one.title, written_at=one.written_at)


def _state(text: Content, status: str) -> dict[str, Any]:
    """The fields of TextState; the status is the one that it has now."""
    return {name: getattr(text, name) for name in TextState.__struct_fields__} | {"status": status}


def _facts(item: Item | None) -> dict[str, Any]:
    if item is None:
        return {}
    return {
        "title": item.title, "description": item.description, "categories": list(item.categories),
        "attributes": item.attributes, "locale": item.locale, "changed_at": item.changed_at, "removed": item.removed,
    }  # fmt: skip


def _violations(found: list[dict[str, Any]]) -> list[ViolationAnswer]:
    return [msgspec.convert(one, ViolationAnswer) for one in found]


def _none_of(item_id: str, kind: str, locale: str) -> NotFound:
    return NotFound(f"no {kind} of item {item_id!r} is stored in {locale!r}: write one with POST /v1/content")


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """Where a list goes on. Raises InvalidRequest for what is no `next` of a list."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place = msgspec.json.decode(raw, type=tuple[datetime, str, str, str, str])
    except (binascii.Error, ValueError):
        raise InvalidRequest("after: give the `next` of a list, as it came") from None
    if place[0].tzinfo is None or any("\0" in part for part in place[1:]):
        raise InvalidRequest("after: give the `next` of a list, as it came")
    return place


ROUTES = [list_texts, get_review, get_history, approve, edit, reject]
