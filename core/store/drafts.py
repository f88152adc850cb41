"""Drafts: texts that people are working on. Nobody is shown them; publishing one is an edit of the text, which ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.requests import TextKey
from core.store.database import Database
from core.tables import content_drafts as table
from core.tables import contents, items

KEY = (table.c.item_id, table.c.kind, table.c.locale, table.c.input_hash)
ORDER = (table.c.saved_at, *KEY)


@dataclass(frozen=True)
class Draft:
    """Somebody's draft of a text. `about` is as in Content; `version` that of what is stored, 0 where nothing is."""

    key: TextKey
    who: str
    text: str
    about: dict[str, Any]
    saved_at: datetime
    title: str
    version: int

    @property
    def place(self) -> tuple[datetime, str, str, str, str]:
        """Where the list goes on behind this one."""
        return self.saved_at, *self.key


class DraftStore:
    """Keeps one draft of each text for each person."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, key: TextKey, who: str, text: str, about: Mapping[str, Any]) -> None:
        """Keep it in place of this person's earlier one; an empty text discards that."""
        with self._database.begin() as connection:
            if not text:
                connection.execute(sa.delete(table).where(sa.tuple_(*KEY) == tuple(key), table.c.who == who))
                return
            names = dict(zip(("item_id", "kind", "locale", "input_hash"), key, strict=True))
            fresh = insert(table).values(**names, who=who, text=text, about=dict(about))
            now = {"text": text, "about": dict(about), "saved_at": sa.func.clock_timestamp()}
            connection.execute(fresh.on_conflict_do_update(index_elements=[*names, "who"], set_=now))

    def of(self, key: TextKey) -> list[Draft]:
        """Everybody's drafts of a text, the newest first."""
        return self._read(sa.tuple_(*KEY) == tuple(key))

    def listed(
        self, *, kind: str | None = None, locale: str | None = None, search: str = "", limit: int = 50,
        after: tuple[datetime, str, str, str, str] | None = None,
    ) -> list[Draft]:  # fmt: skip
        """Drafts that are so, the newest first; `search` is an item's id, or part of its title. `after` continues a list."""
        wanted = [column == one for column, one in ((table.c.kind, kind), (table.c.locale, locale)) if one is not None]
        if search:
            wanted.append(sa.or_(table.c.item_id == search, items.c.title.icontains(search, autoescape=True)))
        if after is not None:
            wanted.append(sa.tuple_(*ORDER) < sa.tuple_(*after))
        return self._read(*wanted, limit=limit)

    def count(self) -> int:
        """How many there are."""
        with self._database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    def _read(self, *wanted: sa.ColumnElement[bool], limit: int | None = None) -> list[Draft]:
        stored = sa.and_(*(contents.c[column.name] == column for column in KEY))
        query = (
            sa.select(table, items.c.title, contents.c.version)
            .outerjoin(items, items.c.item_id == table.c.item_id)
            .outerjoin(contents, stored)
        )
        ordered = query.where(*wanted).order_by(*(column.desc() for column in ORDER)).limit(limit)
        with self._database.read() as connection:
            return [
                Draft(
                    TextKey(row.item_id, row.kind, row.locale, row.input_hash), row.who, row.text, row.about, row.saved_at,
                    row.title or "", row.version or 0,
                )
                for row in connection.execute(ordered)
            ]  # fmt: skip


def published(connection: sa.Connection, key: TextKey, who: str) -> None:
    """End this person's draft of a text: they have published theirs."""
    connection.execute(sa.delete(table).where(sa.tuple_(*KEY) == tuple(key), table.c.who == who))
