"""Texts before people: list them, see what speaks against one, approve, edit, reject, and read what was changed by whom."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from core.errors import InvalidRequest, NotFound
from core.requests import TextKey, input_hash_of
from core.store.catalogue import Item
from core.store.contents import Content
from core.store.reviews import Decision, Listed, Place
from models.content.about import OF_ITEM, FromStore, because_of, facts_about, kind_of
from models.content.kind import house_style
from models.content.review import Given, as_dicts, decide, listed, standing, violations_now
from serving.problems import documented
from serving.review_shapes import (
    ApproveRequest,
    ChangeList,
    Decided,
    DraftRequest,
    DraftState,
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
from serving.routes.parameters import CONTENT_WRITE, ItemId, Kind, Limit, Serving, Who, narrowing
from serving.service import Service, run

NEVER = datetime.min.replace(tzinfo=UTC)

OfKind = Annotated[str | None, narrowing(64, "Only texts of this kind.")]
OfLocale = Annotated[str | None, narrowing(35, "Only in this language.")]
OfStatus = Annotated[
    Listing | None,
    QueryParameter(
        required=False,
        description="`stale`: was good until its item changed. A good one may yet be so. `draft`: what people are working on.",
    ),
]
Words = Annotated[str | None, narrowing(256, "An item's id, or part of its title.")]
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
    "/items/{item_id:str}/content/draft", status_code=200, opt=CONTENT_WRITE, responses=documented(404), tags=TAGS,
    summary="Keep a text that you are working on",
)  # fmt: skip
async def draft(service: Serving, who: Who, item_id: ItemId, data: JSONBody[DraftRequest]) -> ReviewAnswer:
    """One for each text and person, in place of the one before; an empty text discards it. Nobody is shown it, and publishing
    your text ends it. Answers what speaks against it."""
    about = because_of(data.carrier.item, data.carrier.kind) if data.carrier is not None else {}
    locale = data.locale or service.settings.content_locale
    key = TextKey(item_id, data.kind, locale, input_hash_of(about) or data.input_hash)
    return await run(service.threads.database, keep_draft, service, key, who, data.text.strip(), about)


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
    found, behind = listed(service.store, **wanted, words=service.settings.banned_words)
    return TextList([_listed(one, status) for one, status in found], _cursor(behind) if behind else None)


def keep_draft(service: Service, key: TextKey, who: str, text: str, about: dict[str, str]) -> ReviewAnswer:
    """Keep a person's draft, and say how the text stands. Raises NotFound for what there can be no text of; a draft of an item
    that was removed since is discarded all the same."""
    kind_of(key.kind)
    if not text:
        about = about or next((one.about for one in service.store.drafts.of(key)), {})
        service.store.drafts.save(key, who, text, about)
        return review_of(service, *key, about=about)
    known = review_of(service, *key, about=about)  # before: what nobody could publish is not kept
    service.store.drafts.save(key, who, text, known.about)
    return review_of(service, *key, about=about)


def review_of(
    service: Service, item_id: str, kind: str, locale: str, input_hash: str, *, about: dict[str, str] | None = None
) -> ReviewAnswer:  # fmt: skip
    """A stored text with its standing; where none is stored, version 0 of it: of a kind that its item alone is enough for, or
    that is `about` more, or of which there is a draft. Raises NotFound."""
    key = TextKey(item_id, kind, locale, input_hash)
    found, item = service.store.contents.content(*key), service.store.catalogue.item(item_id)
    drafts, words = service.store.drafts.of(key), service.settings.banned_words
    there = item is not None and not item.removed
    about = about or next((one.about for one in drafts), {})
    if found is None and (not there or (input_hash_of(about) != input_hash) or (kind not in OF_ITEM and not about)):
        raise _none_of(item_id, kind, locale)
    text, outdated = found or (replace(_nothing(item_id, kind, locale), input_hash=input_hash, about=about), False)
    around = FromStore(service.store)
    now = standing(text, outdated, item, around, words)
    if found is None and not now.checked:
        facts_about(kind, item, locale, around, text.about) if item is not None else None  # says what is not there
        raise _none_of(item_id, kind, locale)
    template = None
    if item is not None and there and now.checked:
        facts = facts_about(kind, item, locale, around, text.about)
        template = kind_of(kind).fallback(facts, house_style(service.settings, locale))
    return ReviewAnswer(
        **_state(text, now.status), about=text.about, violations=_violations(as_dicts(now.violations)), checked=now.checked,
        facts=_facts(item), template=template, refused=text.rejected,
        drafts=[
            DraftState(
                who=one.who, text=one.text, saved_at=one.saved_at,
                violations=_violations(as_dicts(violations_now(service.store, one.text, key, text.about, words))),
            )
            for one in drafts
        ],
    )  # fmt: skip


def _nothing(item: str, kind: str, locale: str) -> Content:
    """What is stored where nothing is: version 0."""
    return Content(item, kind, locale, "", "none", "", "", "", NEVER, "", 0, [], version=0)


async def _decide(service: Service, item_id: str, asked: ApproveRequest | RejectRequest, given: Given) -> Decided:
    locale = asked.locale or service.settings.content_locale
    given = replace(given, words=service.settings.banned_words)
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


ROUTES = [list_texts, get_review, get_history, approve, edit, draft, reject]
