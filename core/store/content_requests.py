"""Requests for texts: which are wanted, which are in the topic, and settling them (docs/adr/0021).

A text that is wanted has a row until it is settled, so it is requested once; the row is the record, the topic its way to the
workers. Settling writes texts, request states, dead letters, tokens and offsets in ONE transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.requests import TextKey, TextRequest, input_hash_of
from core.store.contents import WRITABLE, Content, content_from_row, save_within
from core.store.database import Database
from core.store.events import Advance, DeadLetter, EventStore
from core.store.request_queries import ABOUT, LATER, NEXT, REQUEST, STILL_TRUE, TRY, WANTING, WISH
from core.tables import content_requests as table
from core.tables import content_tokens, content_tries, contents

SWEEP_S = 600.0  # a look at a whole catalogue takes seconds of a free machine, and has this long on a full one


@dataclass(frozen=True)
class Tried:
    """A model was asked for a text from these facts with this prompt, and gave what it could give."""

    key: TextKey
    facts_hash: str
    prompt_hash: str
    model: str


@dataclass(frozen=True)
class Wanted:
    """Which texts to look for. `texts` are (kind, language) that every item is to have; without them only texts that there are.

    Of those there are, of the kinds `prompts` (kind -> hash of its prompt) in `locale` (None: any): those whose item changed,
    those of another prompt, those checked against another list of words than `banned_hash`, and those of another model than
    `model` ("": there is none to ask) that it was not asked for yet; `templates_too`: the template's as well. What is but not of
    the prompt, list or model rests for `rest_s` after it was written: two workers that are configured differently do not take
    turns with a text without end. `needs` (kind -> attribute): only items that have a list of that name want a first text of that
    kind.
    """

    texts: Sequence[tuple[str, str]]
    prompts: Mapping[str, str]
    model: str = ""
    locale: str | None = None
    templates_too: bool = True
    rest_s: float = 0.0
    needs: Mapping[str, str] = field(default_factory=dict)
    banned_hash: str = ""


@dataclass(frozen=True)
class Refusal:
    """A request that nothing can be done about: one stable word, and what is wrong."""

    key: TextKey
    reason: str
    detail: str


@dataclass(frozen=True)
class Settlement:
    """What came of requests: the texts to store, and what becomes of the requests themselves.

    `done` need nothing more; `later` stay wanting, for a model that does not answer; `refused` wait for a person or a change.
    `true` are stored texts whose facts are still those of their item as of the time given; `listed` those that say nothing of a
    new list of words, as they were but for the hash of that.
    """

    done: Sequence[TextKey] = ()
    later: Sequence[TextKey] = ()
    refused: Sequence[Refusal] = ()
    texts: Sequence[Content] = ()
    true: Sequence[tuple[TextKey, datetime]] = ()
    tries: Sequence[Tried] = ()
    tokens: int = 0
    listed: Sequence[Content] = ()

    def __add__(self, other: Settlement) -> Settlement:
        """Both, of other texts each."""
        return Settlement(
            [*self.done, *other.done], [*self.later, *other.later], [*self.refused, *other.refused],
            [*self.texts, *other.texts], [*self.true, *other.true], [*self.tries, *other.tries], self.tokens + other.tokens,
            [*self.listed, *other.listed],
        )  # fmt: skip


@dataclass(frozen=True)
class RequestCounts:
    """Requests by state (waiting, later, published, dead), the age of the oldest that waits for its turn, tokens this hour."""

    states: dict[str, int]
    oldest_s: float
    tokens: int


class ContentRequestStore:
    """Finds what is wanted, records requests, settles them."""

    def __init__(self, database: Database, events: EventStore) -> None:
        self._database, self._events = database, events

    def wanting(
        self, wanted: Wanted, limit: int, *, since_txn: int = 0, requested_too: bool = False
    ) -> list[TextRequest]:
        """Texts that are wanted and not requested yet (or `requested_too`), the newest and most viewed first.

        `since_txn` looks only at items written by transactions from that one on.
        """
        given = {
            "kinds": [kind for kind, _ in wanted.texts], "locales": [locale for _, locale in wanted.texts],
            "known": list(wanted.prompts), "prompts": json.dumps(dict(wanted.prompts)), "model": wanted.model,
            "needs": [wanted.needs.get(kind, "") for kind, _ in wanted.texts], "templates": wanted.templates_too,
            "banned": wanted.banned_hash,
            "rest_s": wanted.rest_s, "locale": wanted.locale or "", "writable": list(WRITABLE), "since": since_txn,
            "limit": limit, "all": requested_too,
        }  # fmt: skip
        with self._database.read(None if since_txn else SWEEP_S) as connection:
            return [_request(row) for row in connection.execute(sa.text(WANTING), given)]

    def about(self, ids: Sequence[str], kind: str, locale: str) -> list[TextRequest]:
        """A request for the text of each of these items that is in the catalogue, as someone asked for it."""
        with self._database.read() as connection:
            given = {"items": list(ids), "kind": kind, "locale": locale}
            return [_request(row) for row in connection.execute(sa.text(ABOUT), given)]

    def request(self, requests: Sequence[TextRequest]) -> int:
        """Record requests; returns how many are new. A worker publishes them."""
        rows = [
            {
                "item_id": one.item, "kind": one.kind, "locale": one.locale, "why": one.why,
                "facts_at": one.facts_at.isoformat(), "priority": one.priority, "input_hash": one.key.input_hash,
                "about": one.about,
            }
            for one in {one.key: one for one in requests}.values()
        ]  # fmt: skip
        with self._database.begin() as connection:
            return int(connection.execute(sa.text(REQUEST), {"rows": json.dumps(rows)}).rowcount)

    def wish(self, reasons: Mapping[tuple[str, str, str, str], int], most: int) -> int:
        """Request reasons that were shown in so many lists and that nobody wrote, the most shown first; returns how many are new.

        A reason is (item recommended, item of the past that carried it, what was done with that one, language): it names nobody.
        Only of items that are there. What a model was asked for in the last day is left out, and so is what goes beyond `most`
        reasons that workers were ever asked for.
        """
        rows = [
            {
                "item": item, "locale": locale, "lists": lists, "about": {"item": carrier, "event": event},
                "input_hash": input_hash_of({"item": carrier, "event": event}),
            }
            for (item, carrier, event, locale), lists in reasons.items()
        ]  # fmt: skip
        with self._database.begin() as connection:
            return int(connection.execute(sa.text(WISH), {"rows": json.dumps(rows), "most": most}).rowcount)

    def publish(self, ahead: int, topic_id: str, send: Callable[[Sequence[TextRequest]], None]) -> int:
        """Have `send` publish what waits, while fewer than `ahead` requests are in the topic; returns how many it was given.

        Within one transaction, so that what `send` raises, or a crash, leaves them waiting: they may then be published
        twice, which is harmless. Two publishers pass over one another's.
        """
        mine = sa.and_(table.c.state == "published", table.c.published_to == topic_id)
        with self._database.begin() as connection:
            room = ahead - int(connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one())
            if room <= 0:
                return 0
            rows = connection.execute(sa.text(NEXT), {"topic_id": topic_id, "room": room}).all()
            if not rows:
                return 0
            send([_request(row) for row in rows])
            keys = [_key(row) for row in rows]
            connection.execute(sa.update(table).where(_in(keys)).values(state="published", published_to=topic_id))
        return len(rows)

    def publish_again(self) -> int:
        """Have everything that is in the topic published again: the broker dropped messages that nobody had read."""
        with self._database.begin() as connection:
            update = sa.update(table).where(table.c.state == "published").values(state="waiting")
            return int(connection.execute(update).rowcount)

    def known(self, keys: Sequence[TextKey]) -> tuple[dict[TextKey, Content], dict[TextKey, Tried]]:
        """What is stored of these texts, and what models were asked last; what is not known is missing."""
        with self._database.read() as connection:
            stored = connection.execute(sa.select(contents).where(_in(keys, contents)))
            texts = {one.key: one for one in map(content_from_row, stored)}
            tried = connection.execute(sa.select(content_tries).where(_in(keys, content_tries)))
            tries = [Tried(_key(row), row.facts_hash, row.prompt_hash, row.model) for row in tried]
        return texts, {one.key: one for one in tries}

    def settle(
        self, settlement: Settlement, *, letters: Sequence[DeadLetter] = (), advances: Sequence[Advance] = (),
        who: str = "headwater",
    ) -> int:  # fmt: skip
        """Store texts and settle their requests in ONE transaction; returns how many texts were stored.

        A text that says the same from the same facts, prompt and model by now, or that a person has written, stays as it is.
        Raises, with nothing written, Fenced when a partition has a newer owner.
        """
        stored = 0
        with self._database.begin() as connection:
            self._events.settle(connection, letters, advances)
            _try(connection, settlement)
            texts = [*settlement.texts, *settlement.listed]
            before = _stored(connection, texts)
            for text in sorted(texts, key=lambda one: one.key):
                if text.key not in before or _differs(before[text.key], text):
                    stored += save_within(connection, text, who)
            if settlement.true:
                rows = [{**key._asdict(), "facts_at": at.isoformat()} for key, at in sorted(settlement.true)]
                connection.execute(sa.text(STILL_TRUE), {"rows": json.dumps(rows)})
            if settlement.done:
                connection.execute(sa.delete(table).where(_in(settlement.done)))
            if settlement.later:
                connection.execute(sa.text(LATER), _columns(settlement.later))
            if settlement.refused:
                connection.execute(
                    sa.update(table).where(_in([one.key for one in settlement.refused])).values(state="dead")
                )
            if settlement.tokens:
                _count(connection, settlement.tokens)
        return stored

    def counts(self) -> RequestCounts:
        """How many requests there are and how old the oldest is, and what models wrote this hour."""
        state = sa.case((sa.and_(table.c.state == "waiting", table.c.attempts > 0), "later"), else_=table.c.state)
        query = sa.select(state, sa.func.count(), sa.func.min(table.c.requested_at)).group_by(state)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            now = connection.execute(sa.select(sa.func.now())).scalar_one()
        states = dict.fromkeys(("waiting", "later", "published", "dead"), 0) | {
            name: int(count) for name, count, _ in rows
        }
        open_since = [oldest for name, _, oldest in rows if name in ("waiting", "published")]
        oldest_s = max(0.0, (now - min(open_since)).total_seconds()) if open_since else 0.0
        return RequestCounts(states, oldest_s, self.spent()[0])

    def spend(self, tokens: int) -> None:
        """Count tokens that a model wrote outside of any request."""
        with self._database.begin() as connection:
            _count(connection, tokens)

    def spent(self) -> tuple[int, float]:
        """Tokens that models wrote in this hour, as far as it is settled, and the seconds until the next one begins."""
        hour = sa.func.date_trunc("hour", sa.func.now())
        tokens = sa.select(content_tokens.c.tokens).where(content_tokens.c.hour == hour).scalar_subquery()
        left = sa.extract("epoch", hour + sa.text("interval '1 hour'") - sa.func.now())
        with self._database.read() as connection:
            written, left_s = connection.execute(sa.select(tokens, left)).one()
        return int(written or 0), float(left_s)


def _request(row: Any) -> TextRequest:
    return TextRequest(
        item=row.item_id, kind=row.kind, locale=row.locale, why=row.why, facts_at=row.facts_at, priority=row.priority,
        requested_at=row._mapping.get("requested_at"), about=row._mapping.get("about") or {},
    )  # fmt: skip


def _try(connection: sa.Connection, settlement: Settlement) -> None:
    """Lock each text that is to be written, also one that is not there yet, by the row of what was asked for it."""
    asked = {one.key: one for one in settlement.tries}
    keys = {one.key for one in settlement.texts} | asked.keys()
    tries = [asked.get(key, Tried(key, "", "", "")) for key in sorted(keys)]
    rows = [
        {**key._asdict(), "facts_hash": facts, "prompt_hash": prompt, "model": model}
        for key, facts, prompt, model in ((one.key, one.facts_hash, one.prompt_hash, one.model) for one in tries)
    ]
    if rows:
        connection.execute(sa.text(TRY), {"rows": json.dumps(rows)})


def _stored(connection: sa.Connection, texts: Sequence[Content]) -> dict[TextKey, Content]:
    """What is stored of these texts, which nobody else changes until the transaction ends."""
    keys = [one.key for one in texts]
    query = sa.select(contents).where(_in(keys, contents)).order_by(*_columns_of(contents)).with_for_update()
    found = map(content_from_row, connection.execute(query) if keys else ())
    return {one.key: one for one in found}


def _differs(before: Content, text: Content) -> bool:
    """Whether a text is about something else than the stored one, or by a better author."""
    made_of = ("facts_hash", "prompt_hash", "style", "banned_hash")
    if any(getattr(before, name) != getattr(text, name) for name in made_of):
        return True
    return text.origin == "model" and before.model != text.model


def _count(connection: sa.Connection, tokens: int) -> None:
    fresh = insert(content_tokens).values(hour=sa.func.date_trunc("hour", sa.func.now()), tokens=tokens)
    total = content_tokens.c.tokens + fresh.excluded.tokens
    connection.execute(fresh.on_conflict_do_update(index_elements=["hour"], set_={"tokens": total}))


def _in(keys: Iterable[TextKey], of: sa.Table = table) -> sa.ColumnElement[bool]:
    return sa.tuple_(*_columns_of(of)).in_([tuple(key) for key in keys])


def _columns_of(table: sa.Table) -> tuple[sa.Column[str], ...]:
    return table.c.item_id, table.c.kind, table.c.locale, table.c.input_hash


def _key(row: Any) -> TextKey:
    return TextKey(row.item_id, row.kind, row.locale, row.input_hash)


def _columns(keys: Sequence[TextKey]) -> dict[str, Any]:
    names = {"items": "item", "kinds": "kind", "locales": "locale", "inputs": "input_hash"}
    return {name: [getattr(key, of) for key in keys] for name, of in names.items()}
