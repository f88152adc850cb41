"""Generated texts: one per item, kind, locale and input, with what it was made from and whether it may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.requests import TextKey
from core.store.catalogue import TXN
from core.store.database import Database
from core.tables import content_changes, contents, items

# A person's word (approved, edited) is never overwritten by a machine.
WRITABLE = ("verified", "rejected", "draft")
KEY = ("item_id", "kind", "locale", "input_hash")
THIS_TXN: sa.ColumnElement[int] = sa.literal_column(TXN)


@dataclass(frozen=True)
class Content:
    """One stored text. `facts_at` is the item's changed_at it was made from; `rejected` the refused tries with reasons.

    `input_hash` is '' for a text that is about its item alone, else a hash of what else it is about (a question, reviews).
    `about` names that by ids, where nothing of a person is in them. `style` names the style it was asked for in. `version`
    counts the changes of text and status, from 1; `save` ignores it. `banned_hash` names the list of words that it was checked
    against ("" where the house has none).
    """

    item: str
    kind: str
    locale: str
    text: str
    status: str
    origin: str
    model: str
    facts_hash: str
    facts_at: datetime
    prompt_hash: str
    attempts: int
    rejected: list[dict[str, Any]]
    style: str = ""
    input_hash: str = ""
    version: int = 1
    about: dict[str, Any] = field(default_factory=dict)
    banned_hash: str = ""

    @property
    def key(self) -> TextKey:
        """Which text it is."""
        return TextKey(self.item, self.kind, self.locale, self.input_hash)


class ContentStore:
    """Reads and writes generated texts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def content(self, item: str, kind: str, locale: str, input_hash: str = "") -> tuple[Content, bool] | None:
        """The stored text and whether it is outdated (its item changed since); None when none was written."""
        outdated = sa.func.coalesce(items.c.changed_at > contents.c.facts_at, sa.true()).label("outdated")
        query = sa.select(contents, outdated).outerjoin(items, items.c.item_id == contents.c.item_id)
        with self._database.read() as connection:
            row = connection.execute(query.where(*where_is(item, kind, locale, input_hash))).one_or_none()
        return None if row is None else (content_from_row(row), bool(row.outdated))

    def save(self, texts: Sequence[Content], *, who: str = "headwater") -> int:
        """Store what a machine wrote, replacing what a machine wrote from the same or older facts. Returns how many were stored.

        `who` is kept with each change: "headwater" and the worker's name. A text that a person rejected, word for word, is
        stored as rejected: a person's no outlives a model that says the same again.
        """
        with self._database.begin() as connection:
            in_order = sorted(texts, key=lambda one: (one.item, one.kind, one.locale, one.input_hash))
            return sum(save_within(connection, text, who) for text in in_order)

    def written_since(self, kind: str, txn: int) -> list[Content]:
        """Texts of a kind that transactions from `txn` on wrote or decided on, in any status; 0 for all. Remember
        EventStore.horizon() from BEFORE this read."""
        query = sa.select(contents).where(contents.c.kind == kind, contents.c.txn >= txn)
        with self._database.read() as connection:
            return [content_from_row(row) for row in connection.execute(query)]

    def newest(self, limit: int) -> list[Content]:
        """The texts written last, for people to look at."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(contents).order_by(contents.c.written_at.desc(), contents.c.item_id).limit(limit)
            )
            return [content_from_row(row) for row in rows]


def where_is(item: Any, kind: str, locale: str, input_hash: str) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition that a row of `contents` is this text; `item` may be a column."""
    given = (item, kind, locale, input_hash)
    return tuple(contents.c[name] == value for name, value in zip(KEY, given, strict=True))


def locked(connection: sa.Connection, item: str, kind: str, locale: str, input_hash: str) -> Content | None:
    """The stored text, which nobody else changes until the transaction ends; None when there is none."""
    query = sa.select(contents).where(*where_is(item, kind, locale, input_hash)).with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else content_from_row(row)


def remember(
    connection: sa.Connection, before: Content | None, after: Content, who: str, action: str, note: str = "",
    overruled: Sequence[dict[str, Any]] = (),
) -> None:  # fmt: skip
    """Keep what a text was (None: there was none) and became, by whom and why."""
    values = {
        **_key(after), "version": after.version, "who": who, "action": action, "status": after.status, "text": after.text,
        "status_before": before.status if before else None, "text_before": before.text if before else None,
        "origin": after.origin, "model": after.model, "note": note, "overruled": list(overruled),
    }  # fmt: skip
    connection.execute(sa.insert(content_changes).values(values))


def content_from_row(row: Any) -> Content:
    """A Content from a row of the contents table."""
    return Content(
        row.item_id, row.kind, row.locale, row.text, row.status, row.origin, row.model, row.facts_hash, row.facts_at,
        row.prompt_hash, row.attempts, row.rejected, row.style, row.input_hash, row.version, row.about, row.banned_hash,
    )  # fmt: skip


def save_within(connection: sa.Connection, text: Content, who: str) -> bool:
    """Whether it was stored. An insert first: two writers of a text that is not there yet cannot both be its first."""
    first = replace(text, version=1)
    if first_of(connection, first):
        remember(connection, None, first, who, "write")
        return True
    before = locked(connection, text.item, text.kind, text.locale, text.input_hash)
    if before is None or before.status not in WRITABLE or before.facts_at > text.facts_at:
        return False
    after = replace(text, status="rejected") if text.text and _was_refused(connection, text) else text
    changed = (before.text, before.status) != (after.text, after.status)
    after = replace(after, version=before.version + changed)
    values = _values(after) | {"written_at": sa.func.now()}
    update = sa.update(contents).where(*where_is(text.item, text.kind, text.locale, text.input_hash))
    connection.execute(update.values({name: value for name, value in values.items() if name not in KEY}))
    if changed:
        remember(connection, before, after, who, "write")
    return True


def first_of(connection: sa.Connection, text: Content) -> bool:
    """Store a text where there was none; False where there is one."""
    return connection.execute(insert(contents).values(_values(text)).on_conflict_do_nothing()).rowcount > 0


def _values(text: Content) -> dict[str, Any]:
    values = {**asdict(text), "item_id": text.item, "txn": THIS_TXN}
    del values["item"]
    return values


def _was_refused(connection: sa.Connection, text: Content) -> bool:
    """Whether the last thing a person said of these very words was no."""
    mine = (content_changes.c[name] == value for name, value in _key(text).items())
    query = sa.select(content_changes.c.action).where(
        *mine, content_changes.c.text == text.text, content_changes.c.action != "write"
    )
    return connection.execute(query.order_by(content_changes.c.number.desc()).limit(1)).scalar() == "reject"


def _key(text: Content) -> dict[str, str]:
    return {"item_id": text.item, "kind": text.kind, "locale": text.locale, "input_hash": text.input_hash}
