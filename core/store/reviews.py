"""What people say of generated texts: approve, edit, reject; and every change of a text, with who and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from core.errors import InvalidRequest, NotFound, TextChanged
from core.store.contents import THIS_TXN, Content, content_from_row, first_of, locked, remember, where_is
from core.store.database import Database
from core.store.drafts import published
from core.tables import content_changes, contents, items

Action = Literal["approve", "edit", "reject"]
STATUS: Mapping[Action, str] = {"approve": "approved", "edit": "edited", "reject": "rejected"}
DID = {"approve": "approved", "edit": "edited", "reject": "rejected", "write": "wrote"}
ORDER = (contents.c.written_at, contents.c.item_id, contents.c.kind, contents.c.locale, contents.c.input_hash)
Place = tuple[datetime, str, str, str, str]  # where in the list a text stands: the columns of ORDER


@dataclass(frozen=True)
class Change:
    """One change of a text: what it was (None: there was none) and became, by whom, and why where they said so.

    `action` is "write" for a machine, else what the person did. `overruled` is what the checker held against a text that the
    person published nonetheless.
    """

    at: datetime
    who: str
    action: str
    version: int
    status_before: str | None
    status: str
    text_before: str | None
    text: str
    origin: str
    model: str
    reason: str
    overruled: list[dict[str, Any]]


@dataclass(frozen=True)
class Listed:
    """A text for people to look at, with its item's title; `outdated` when the item changed since it was written."""

    content: Content
    title: str
    outdated: bool
    written_at: datetime

    @property
    def place(self) -> Place:
        """Where the list goes on behind this one."""
        one = self.content
        return self.written_at, one.item, one.kind, one.locale, one.input_hash


@dataclass(frozen=True)
class Decision:
    """What a person decided on the text whose `version` they saw (0: an edit that is the first text). `text` is an edit's,
    `note` says why.

    `facts_hash` and `facts_at` name the facts it was checked against, `banned_hash` the list of words; None keeps those it was
    made from. `about` is a first text's, as in Content.
    """

    action: Action
    who: str
    version: int
    text: str = ""
    note: str = ""
    facts_hash: str | None = None
    facts_at: datetime | None = None
    overruled: Sequence[dict[str, Any]] = ()
    about: dict[str, Any] = field(default_factory=dict)
    banned_hash: str | None = None


class ReviewStore:
    """Lists texts, takes decisions, remembers them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def texts(
        self, *, status: str | None = None, kind: str | None = None, locale: str | None = None, outdated: bool | None = None,
        search: str = "", limit: int = 50, after: Place | None = None,
    ) -> list[Listed]:  # fmt: skip
        """Texts that are so, the newest first; `search` is an item's id, or part of its title. `after` continues a list."""
        since = sa.func.coalesce(items.c.changed_at > contents.c.facts_at, sa.true())
        title = sa.func.coalesce(items.c.title, "").label("title")
        query = sa.select(contents, title, since.label("outdated")).outerjoin(
            items, items.c.item_id == contents.c.item_id
        )
        for column, wanted in ((contents.c.status, status), (contents.c.kind, kind), (contents.c.locale, locale)):
            query = query if wanted is None else query.where(column == wanted)
        if outdated is not None:
            query = query.where(since if outdated else ~since)
        if search:
            named = items.c.title.icontains(search, autoescape=True)
            query = query.where(sa.or_(contents.c.item_id == search, named))
        if after is not None:
            query = query.where(sa.tuple_(*ORDER) < sa.tuple_(*after))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(*(column.desc() for column in ORDER)).limit(limit))
            return [Listed(content_from_row(row), row.title, row.outdated, row.written_at) for row in rows]

    def counts(self) -> dict[str, int]:
        """Texts by status."""
        query = sa.select(contents.c.status, sa.func.count()).group_by(contents.c.status)
        with self._database.read() as connection:
            return {str(status): int(count) for status, count in connection.execute(query)}

    def decide(self, item: str, kind: str, locale: str, decision: Decision, input_hash: str = "") -> Content:
        """Approve, edit or reject a text. What a person said stays until a person says otherwise.

        Raises NotFound without such a text (but for an edit of version 0, which is its first), TextChanged when it is another
        version by now, and InvalidRequest for an edit without a text or an approval of nothing.
        """
        with self._database.begin() as connection:
            before = locked(connection, item, kind, locale, input_hash)
            if before is None and decision.action == "edit" and decision.version == 0:
                first = _first(item, kind, locale, decision, input_hash)
                if first_of(connection, first):
                    published(connection, first.key, decision.who)
                    remember(connection, None, first, decision.who, "edit", decision.note, decision.overruled)
                    return first
                before = locked(connection, item, kind, locale, input_hash)  # somebody else wrote it meanwhile
            if before is None:
                raise NotFound(f"no {kind} of item {item!r} is stored in {locale!r}: write one with POST /v1/content")
            if before.version != decision.version:
                raise _changed(connection, before, decision.version)
            decided = _decided(before, decision)
            values = {
                "text": decided.text, "status": decided.status, "origin": decided.origin, "model": decided.model,
                "version": decided.version, "facts_hash": decided.facts_hash, "facts_at": decided.facts_at, "txn": THIS_TXN,
                "banned_hash": decided.banned_hash,
            }  # fmt: skip
            connection.execute(sa.update(contents).where(*where_is(item, kind, locale, input_hash)).values(values))
            if decision.action == "edit":
                published(connection, decided.key, decision.who)
            remember(connection, before, decided, decision.who, decision.action, decision.note, decision.overruled)
        return decided

    def history(
        self, item: str, kind: str, locale: str, input_hash: str = "", *, limit: int = 100, before: int | None = None
    ) -> list[Change]:
        """Changes of one text, the newest first; `before` a version, for what came earlier."""
        with self._database.read() as connection:
            key = (item, kind, locale, input_hash)
            return _changes(connection, key, limit, content_changes.c.version < before if before else sa.true())


def _first(item: str, kind: str, locale: str, decision: Decision, input_hash: str) -> Content:
    text = decision.text.strip()
    if not text or decision.facts_hash is None or decision.facts_at is None:
        raise InvalidRequest("text: there is nothing to publish")
    return Content(
        item, kind, locale, text, STATUS["edit"], "person", "", decision.facts_hash, decision.facts_at, "", 0, [],
        input_hash=input_hash, about=decision.about, banned_hash=decision.banned_hash or "",
    )  # fmt: skip


def _decided(before: Content, decision: Decision) -> Content:
    text = decision.text.strip() if decision.action == "edit" else before.text
    if decision.action != "reject" and not text:
        raise InvalidRequest("text: there is nothing to approve; edit it, or reject it")
    decided = replace(before, text=text, status=STATUS[decision.action], version=before.version + 1)
    if decision.action == "edit":
        decided = replace(decided, origin="person", model="")
    if decision.facts_hash is not None and decision.facts_at is not None:
        decided = replace(decided, facts_hash=decision.facts_hash, facts_at=decision.facts_at)
    return decided if decision.banned_hash is None else replace(decided, banned_hash=decision.banned_hash)


def _changed(connection: sa.Connection, now: Content, seen: int) -> TextChanged:
    key = (now.item, now.kind, now.locale, now.input_hash)
    changes = _changes(connection, key, 20, content_changes.c.version > seen)
    last = f"; {changes[0].who} {DID.get(changes[0].action, 'changed')} it last" if changes else ""
    known = [
        {"version": one.version, "at": one.at, "who": one.who, "action": one.action, "status": one.status, "text": one.text}
        for one in changes
    ]  # fmt: skip
    return TextChanged(
        f"you decided on version {seen} of a text that is at version {now.version} by now{last}: read it again", known
    )


def _changes(
    connection: sa.Connection, key: tuple[str, str, str, str], limit: int, only: sa.ColumnElement[bool]
) -> list[Change]:
    columns = content_changes.c.item_id, content_changes.c.kind, content_changes.c.locale, content_changes.c.input_hash
    mine = (column == value for column, value in zip(columns, key, strict=True))
    query = sa.select(content_changes).where(*mine, only).order_by(content_changes.c.number.desc()).limit(limit)
    return [
        Change(
            row.changed_at, row.who, row.action, row.version, row.status_before, row.status, row.text_before, row.text,
            row.origin, row.model, row.note, row.overruled,
        )
        for row in connection.execute(query)
    ]  # fmt: skip
