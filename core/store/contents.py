"""Generated texts: one per item, kind and locale, with what it was made from and whether it may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.store.catalogue import Item, item_from_row
from core.store.database import Database
from core.tables import contents, item_counts, items

WRITABLE = (
    "verified",
    "rejected",
    "draft",
)  # a person's word (approved, edited) is never overwritten by a machine


@dataclass(frozen=True)
class Content:
    """One stored text. `facts_at` is the item's changed_at it was made from; `rejected` the refused tries with reasons."""

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


class ContentStore:
    """Reads and writes generated texts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def content(self, item: str, kind: str, locale: str) -> tuple[Content, bool] | None:
        """The stored text and whether it is stale (its item changed since); None when none was written."""
        stale = sa.func.coalesce(items.c.changed_at > contents.c.facts_at, sa.true()).label("stale")
        query = sa.select(contents, stale).outerjoin(items, items.c.item_id == contents.c.item_id)
        query = query.where(contents.c.item_id == item, contents.c.kind == kind, contents.c.locale == locale)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (_content(row), bool(row.stale))

    def save(self, texts: Sequence[Content]) -> int:
        """Store texts, replacing machine-written ones made from the same or older facts. Returns how many were stored."""
        stored = 0
        with self._database.begin() as connection:
            for text in sorted(texts, key=lambda one: (one.item, one.kind, one.locale)):
                values = asdict(text)
                values["item_id"] = values.pop("item")
                fresh = insert(contents).values(values)
                keep = sa.and_(contents.c.status.in_(WRITABLE), contents.c.facts_at <= fresh.excluded.facts_at)
                changes = {name: fresh.excluded[name] for name in values if name not in ("item_id", "kind", "locale")}
                statement = fresh.on_conflict_do_update(
                    index_elements=["item_id", "kind", "locale"],
                    set_={**changes, "written_at": sa.func.now()},
                    where=keep,
                )
                stored += connection.execute(statement).rowcount
        return stored

    def still_true(self, item: str, kind: str, locale: str, facts_at: datetime) -> None:
        """The item changed but the facts of this text did not: it is fresh again as of `facts_at`."""
        where = (contents.c.item_id == item, contents.c.kind == kind, contents.c.locale == locale)
        with self._database.begin() as connection:
            connection.execute(
                sa.update(contents).where(*where).values(facts_at=sa.func.greatest(contents.c.facts_at, facts_at))
            )

    def wanting(self, kind: str, locale: str, limit: int, *, only_stale: bool = False) -> list[Item]:
        """Live items with no text of this kind, or a stale one, most interacted with first."""
        counts = (
            sa.select(item_counts.c.item_id, sa.func.sum(item_counts.c.events).label("n"))
            .group_by(item_counts.c.item_id)
            .subquery()
        )
        mine = sa.and_(contents.c.item_id == items.c.item_id, contents.c.kind == kind, contents.c.locale == locale)
        stale = sa.and_(items.c.changed_at > contents.c.facts_at, contents.c.status.in_(WRITABLE))
        lacking = stale if only_stale else sa.or_(contents.c.item_id.is_(None), stale)
        query = (
            sa.select(items)
            .outerjoin(contents, mine)
            .outerjoin(counts, counts.c.item_id == items.c.item_id)
            .where(lacking, ~items.c.removed, ~items.c.hidden)
            .order_by(sa.func.coalesce(counts.c.n, 0).desc(), items.c.item_id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [item_from_row(row) for row in connection.execute(query)]

    def newest(self, limit: int) -> list[Content]:
        """The texts written last, for people to look at."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(contents).order_by(contents.c.written_at.desc(), contents.c.item_id).limit(limit)
            )
            return [_content(row) for row in rows]


def _content(row: Any) -> Content:
    return Content(
        row.item_id, row.kind, row.locale, row.text, row.status, row.origin, row.model, row.facts_hash, row.facts_at,
        row.prompt_hash, row.attempts, row.rejected,
    )  # fmt: skip
