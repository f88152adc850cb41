"""The console's pages of texts: find them, see what speaks against one and what was changed, approve, edit, reject.

The only pages that change anything. Plain forms, so each carries a token that another site's page cannot know.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect

from core.errors import Conflict, Forbidden, HeadwaterError, InvalidRequest
from core.requests import TextKey, input_hash_of
from core.store.keys import Key
from core.store.reviews import Action, Decision
from models.content import CONTENT_KINDS
from models.content.about import because_of
from models.content.difference import marked, words_changed
from models.content.kind import Violation
from models.content.review import Given, decide, violations_now
from serving.access import KEY_STATE
from serving.page import page, text_address
from serving.review_shapes import Listing
from serving.routes.parameters import CONTENT_WRITE, NO_NUL, Serving, Who
from serving.routes.reviews import keep_draft, place_of, review_of, texts_of
from serving.service import Service, run

PAGE_TEXTS = 30
SHOWN_CHANGES = 50
MAX_TEXT, MAX_REASON = 2_000, 1_000  # characters, as over HTTP
ACTIONS: tuple[Action, ...] = get_args(Action)
STATUSES: tuple[str, ...] = get_args(Listing)
DONE = {
    "approve": "Approved.", "edit": "Your text is published.", "reject": "Rejected.",
    "draft": "Kept as your draft: nobody is shown it.",
}  # fmt: skip

OneId = Annotated[str, QueryParameter(min_length=1, max_length=256, pattern=NO_NUL)]
OneKind = Annotated[str, QueryParameter(min_length=1, max_length=64, pattern=NO_NUL)]
OneLocale = Annotated[str, QueryParameter(min_length=1, max_length=35, pattern=NO_NUL)]
Asked = Annotated[str, QueryParameter(max_length=256)]
Cursor = Annotated[str, QueryParameter(max_length=2_000)]


@dataclass(frozen=True)
class Form:
    """What a person sent. `action` is "check" when they only want to see what the checker says, "draft" to keep the text without
    publishing it. `about`: of a first text about a pair of items, as in Content."""

    action: str
    key: tuple[str, str, str, str]  # item, kind, locale, input_hash
    version: int
    text: str
    reason: str
    anyway: bool
    about: dict[str, str]


@get("/texts", opt=CONTENT_WRITE)
async def texts(
    service: Serving, status: Asked = "", kind: Asked = "", locale: Asked = "", q: Asked = "", after: Cursor = ""
) -> Response[str]:
    """Texts by status, kind, language, and words of the item's title."""
    wanted = {"status": status, "kind": kind, "locale": locale.strip(), "q": q.strip().replace("\0", "")}
    return await run(service.threads.reports, _texts, service, wanted, after)


@get("/text", opt=CONTENT_WRITE)
async def text(
    request: Request[Any, Any, Any], service: Serving, who: Who, item: OneId, kind: OneKind, locale: OneLocale,
    input_hash: Asked = "", done: Asked = "", carrier: Asked = "", event: Asked = "",
) -> Response[str]:  # fmt: skip
    """One text, with its facts, what the checker says of it, and its history. `carrier` and `event` begin a reason: because
    somebody did that with that item."""
    about = _about(carrier.strip().replace("\0", ""), event)
    key, token = (item, kind, locale, input_hash_of(about) or input_hash), form_token(service, request)
    return await run(
        service.threads.database, _text, service, key, token, about=about, who=who, notice=DONE.get(done, "")
    )  # fmt: skip


@post("/text", opt=CONTENT_WRITE, status_code=200)
async def decide_text(request: Request[Any, Any, Any], service: Serving, who: Who) -> Response[Any]:
    """A decision from the text's page; back to it, with what came of it."""
    fields = {name: str(value) for name, value in (await request.form()).items()}
    token = form_token(service, request)
    _own_page(request, fields.get("token", ""), token)
    return await run(service.threads.database, _decided, service, _form(fields), who, token)


def form_token(service: Service, request: Request[Any, Any, Any]) -> str:
    """What a form must bring back: known to pages that this server sent to the same key, and to nobody else."""
    key: Key | None = request.scope["state"].get(KEY_STATE)
    about = f"console form\0{key.key_id if key else ''}"
    return hmac.new(str(service.settings.secret).encode(), about.encode(), hashlib.sha256).hexdigest()


def _own_page(request: Request[Any, Any, Any], given: str, token: str) -> None:
    elsewhere = request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")  # none: a reload by hand
    if elsewhere or not hmac.compare_digest(given.encode(), token.encode()):
        raise Forbidden("this form is not from a page of this console: open the text's page again")


def _form(fields: dict[str, str]) -> Form:
    """Raises InvalidRequest. White space of a text becomes single spaces: a page's text has lines, a catalogue's has none."""
    version, action = fields.get("version", ""), fields.get("action", "")
    if not version.isascii() or not version.isdigit() or len(version) > 9 or action not in (*ACTIONS, "check", "draft"):
        raise InvalidRequest("the form is not complete: open the text's page again")
    words, reason = " ".join(fields.get("text", "").split()), fields.get("reason", "").strip()
    if len(words) > MAX_TEXT or len(reason) > MAX_REASON or "\0" in "".join(fields.values()):
        raise InvalidRequest(f"a text has at most {MAX_TEXT} characters, a reason {MAX_REASON}")
    item, kind, locale, input_hash = (fields.get(name, "") for name in ("item", "kind", "locale", "input_hash"))
    key = (item, kind, locale, input_hash)
    about = _about(fields.get("carrier", ""), fields.get("event", ""))
    return Form(action, key, int(version), words, reason, fields.get("anyway") == "yes", about)


def _about(carrier: str, event: str) -> dict[str, str]:
    """Raises InvalidRequest for what nobody can have done."""
    if carrier and not re.fullmatch("[a-z][a-z0-9_]{0,47}", event):
        raise InvalidRequest("event: say what was done with the item, such as view or purchase")
    return because_of(carrier, event) if carrier else {}


def _texts(service: Service, wanted: dict[str, str], after: str) -> Response[str]:
    status: Any = wanted["status"] if wanted["status"] in STATUSES else None
    found = texts_of(
        service, status=status, kind=wanted["kind"] or None, locale=wanted["locale"] or None, search=wanted["q"],
        limit=PAGE_TEXTS, after=place_of(after) if after else None,
    )  # fmt: skip
    asked = {name: value for name, value in wanted.items() if value}
    older = f"/console/texts?{urlencode({**asked, 'after': found.next})}" if found.next else ""
    counts = service.store.reviews.counts() | {"draft": service.store.drafts.count()}
    return page(
        "texts.html", title="Texts", texts=found.texts, counts=counts, wanted=wanted, older=older,
        newest=f"/console/texts?{urlencode(asked)}" if after else "", statuses=STATUSES, kinds=list(CONTENT_KINDS),
        keyless=not service.access.required,
    )  # fmt: skip


def _decided(service: Service, form: Form, who: str, token: str) -> Response[Any]:
    if form.action == "check":
        return _text(service, form.key, token, form=form, about=form.about, who=who)
    if form.action == "draft":
        keep_draft(service, TextKey(*form.key), who, form.text, form.about)
        return _back(form)
    action: Any = form.action
    decision = Decision(action, who, form.version, form.text, form.reason, about=form.about)
    try:
        decide(service.store, *form.key[:3], Given(decision, form.anyway, form.key[3], service.settings.banned_words))
    except (Conflict, InvalidRequest) as error:
        return _text(service, form.key, token, form=form, about=form.about, who=who, trouble=error)
    return _back(form)


def _back(form: Form) -> Redirect:
    begun = {"carrier": form.about["item"], "event": form.about["event"]} if form.about else {}
    return Redirect(f"{text_address(*form.key)}&{urlencode({**begun, 'done': form.action})}", status_code=303)


def _text(
    service: Service, key: tuple[str, str, str, str], token: str, *, about: dict[str, str], who: str, form: Form | None = None,
    trouble: HeadwaterError | None = None, notice: str = "",
) -> Response[str]:  # fmt: skip
    review = review_of(service, *key, about=about)
    draft = form.text if form is not None and form.action in ("edit", "check") else None
    found = violations_now(service.store, draft, key, review.about, service.settings.banned_words) if draft else []
    kept = next((one.text for one in review.drafts if one.who == who), None)
    changes = service.store.reviews.history(*key, limit=SHOWN_CHANGES)
    return page(
        "text.html", status=trouble.http_status if trouble else 200, title=review.facts.get("title") or review.item,
        typed=next(text for text in (draft, kept, review.text) if text is not None),
        review=review, notice=notice, trouble=trouble, token=token, form=form,
        parts=marked(review.text, _within(review.text, [_violation(one) for one in review.violations])),
        draft=draft, draft_found=found, draft_parts=marked(draft or "", _within(draft or "", found)),
        draft_diff=words_changed(review.text, draft or ""),
        changes=[(one, words_changed(one.text_before or "", one.text)) for one in changes],
        more=len(changes) == SHOWN_CHANGES, keyless=not service.access.required, max_text=MAX_TEXT, max_reason=MAX_REASON,
    )  # fmt: skip


def _within(text: str, found: list[Violation]) -> list[Violation]:
    """Those to mark in the text: one that is about all of it would hide where the others are."""
    whole = len(text.rstrip(" .!?"))
    return [one for one in found if one.span[1] - one.span[0] < whole]


def _violation(one: Any) -> Violation:
    return Violation(tuple(one.span), one.claim, one.reason, one.rule)


ROUTES = [texts, text, decide_text]
