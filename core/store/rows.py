"""Writing the rows of events through COPY, the fastest way into Postgres: each event once, whatever is repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice
from typing import Any

import msgspec
import psycopg2  # type: ignore[import-untyped]

from core.events import Event, Impression, Interaction, UserErased

COLUMNS = "key, source, id, type, time, user_id, item_id, value, session, slate, position, data, txn"

# Temporary, so never in the schema and never logged; the same columns as `events`.
STAGING = f"CREATE TEMP TABLE IF NOT EXISTS staging ON COMMIT DELETE ROWS AS SELECT {COLUMNS} FROM events WITH NO DATA"

# Keys first, in key order so that two writers of the same keys wait rather than deadlock; then only what was new.
INSERT_NEW = f"""
WITH fresh AS (
    INSERT INTO event_keys (key) SELECT key FROM staging ORDER BY key ON CONFLICT DO NOTHING RETURNING key
), inserted AS (
    INSERT INTO events ({COLUMNS}) SELECT {COLUMNS} FROM staging JOIN fresh USING (key)
    RETURNING user_id, item_id, type
), counted_items AS (
    INSERT INTO item_counts (item_id, type, events)
    SELECT item_id, type, count(*) FROM inserted WHERE type LIKE 'interaction.%' GROUP BY item_id, type ORDER BY item_id, type
    ON CONFLICT (item_id, type) DO UPDATE SET events = item_counts.events + excluded.events
), counted_users AS (
    INSERT INTO user_counts (user_id, events)
    SELECT user_id, count(*) FROM inserted WHERE type LIKE 'interaction.%' GROUP BY user_id ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET events = user_counts.events + excluded.events
)
SELECT split_part(type, '.', 1) AS family, count(*) FROM inserted GROUP BY 1
"""

COUNT = """
WITH counted_items AS (
    INSERT INTO item_counts (item_id, type, events)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS counted (item_id, type, events) ORDER BY item_id, type
    ON CONFLICT (item_id, type) DO UPDATE SET events = item_counts.events + excluded.events
)
INSERT INTO user_counts (user_id, events)
SELECT * FROM unnest(%s::text[], %s::bigint[]) AS counted (user_id, events) ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET events = user_counts.events + excluded.events
"""

LINES_AT_ONCE = 500

_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_encode = msgspec.json.encode


class RowWriter:
    """Inserts events into `events` and `event_keys`, and counts the interactions of each item and of each user."""

    def __init__(self) -> None:
        self._repeating = False  # whether the last batch held events known before: then the next may, too

    def insert(self, cursor: Any, events: Sequence[Event]) -> dict[str, int]:
        """Insert what is new and count it, in the cursor's transaction. Returns the number of new events by family."""
        rows: dict[str, Event] = {}
        for event in events:
            rows.setdefault(event.identity, event)  # of doubles in one batch the first stays
        if not rows:
            return {}
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        lines = _Lines(copy_lines(rows, cursor.fetchone()[0]))
        inserted = None if self._repeating else self._insert_all(cursor, rows, lines)
        if inserted is None:
            inserted = self._insert_new(cursor, lines)
        self._repeating = sum(inserted.values()) < len(rows)
        return inserted

    def _insert_all(self, cursor: Any, rows: dict[str, Event], lines: _Lines) -> dict[str, int] | None:
        """Straight into the tables; None, with nothing inserted, where some event is known already."""
        cursor.execute("SAVEPOINT straight")
        try:
            # In key order, so that two writers of the same keys wait rather than deadlock.
            cursor.copy_expert("COPY event_keys FROM STDIN", BytesIO("\n".join(sorted(rows)).encode()))
        except psycopg2.errors.UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT straight")
            return None
        cursor.copy_expert(f"COPY events ({COLUMNS}) FROM STDIN", lines)
        bodies = [(event.body, event.type) for event in rows.values() if type(event.body) is Interaction]
        if bodies:
            counted = Counter([(body.item, kind) for body, kind in bodies])
            users = Counter([body.user for body, _ in bodies])
            items, types = zip(*counted, strict=True)
            columns = (_array(items), _array(types), _numbers(counted), _array(list(users)), _numbers(users))
            cursor.execute(COUNT, columns)
        families: Counter[str] = Counter()
        for kind, count in Counter([event.type for event in rows.values()]).items():
            families[kind.partition(".")[0]] += count
        return dict(families)

    def _insert_new(self, cursor: Any, lines: _Lines) -> dict[str, int]:
        """By way of a staging table, where what is known is left out."""
        cursor.execute(STAGING)
        cursor.copy_expert(f"COPY staging ({COLUMNS}) FROM STDIN", lines)
        cursor.execute(INSERT_NEW)
        return dict(cursor.fetchall())


class _Lines:
    """COPY's input, written while Postgres is busy with the lines before."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def read(self, _size: int) -> bytes:
        """The next lines, whatever their size; nothing at the end."""
        return "".join(islice(self._lines, LINES_AT_ONCE)).encode()


def copy_lines(rows: Mapping[str, Event], txn: int) -> Iterator[str]:
    """One line for each event, by its identity (Event.identity), in the order of COLUMNS."""
    times = _encode([event.time for event in rows.values()]).decode()[2:-2].split('","')
    for (key, event), at in zip(rows.items(), times, strict=True):
        body = event.body
        if type(body) is Interaction:
            texts = f"{event.source}{event.id}{body.user}{body.item}{body.session}{body.slate}"
            if texts.isprintable() and "\\" not in texts:  # no tab, line end or backslash: nothing to escape
                data = _json(body.context) if body.context else _NULL
                yield (
                    f"{key}\t{event.source}\t{event.id}\t{event.type}\t{at}\t{body.user}\t{body.item}\t"
                    f"{_NULL if body.value is None else body.value}\t{_NULL if body.session is None else body.session}\t"
                    f"{_NULL if body.slate is None else body.slate}\t{_NULL if body.position is None else body.position}\t"
                    f"{data}\t{txn}\n"
                )
                continue
        head = (key, *map(_escaped, (event.source, event.id, event.type)), at)
        yield "\t".join((*head, *_fields(event), str(txn))) + "\n"


def _fields(event: Event) -> tuple[str, ...]:
    """user_id, item_id, value, session, slate, position, data of any event."""
    body = event.body
    if isinstance(body, UserErased):
        return (_NULL,) * 7
    if isinstance(body, Interaction):
        texts = (body.value, body.session, body.slate, body.position)
        return (
            _escaped(body.user),
            _escaped(body.item),
            *map(_escaped, texts),
            _json(body.context) if body.context else _NULL,
        )
    slate, session = (body.slate, body.session) if isinstance(body, Impression) else (None, None)
    own = ("user", "item", "slate", "session")
    rest = {name: value for name, value in msgspec.to_builtins(body).items() if name not in own}
    user, item = getattr(body, "user", None), getattr(body, "item", None)
    return _escaped(user), _escaped(item), _NULL, _escaped(session), _escaped(slate), _NULL, _json(rest)


def _escaped(value: object) -> str:
    return _NULL if value is None else str(value).translate(_ESCAPES)


def _json(value: object) -> str:
    """JSON holds no raw control characters: only its backslashes mean something to COPY."""
    return _encode(value).decode().replace("\\", "\\\\")


def _numbers(counted: Counter[Any]) -> str:
    return f"{{{','.join(map(str, counted.values()))}}}"


def _array(texts: Sequence[str]) -> str:
    """An array literal: one value to parse instead of the thousands of expressions that psycopg2 makes of a list."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return '{"' + '","'.join(quoted) + '"}'
