"""The ledger: what was sent and what the broker acknowledged, and whether Postgres holds exactly that.

It shares nothing with what it judges. Messages are read as plain JSON, tables in plain SQL, the topic by a bare client
without a group, and every count is added up again here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition

SHOWN = 10  # troubles of one sort at most: the rest is counted


@dataclass(frozen=True)
class Fact:
    """What was sent under an id, and so what its row has to say."""

    type: str
    time: datetime
    user: str | None
    item: str | None
    value: float | None
    state: str | None  # of the catalogue, after a change: an item's title or "removed", a user's attributes

    @property
    def row(self) -> tuple[object, ...]:
        if self.type == "user.erased":
            return self.type, self.time, None, None, None
        return self.type, self.time, self.user, self.item, self.value


def fact(message: bytes) -> tuple[str, Fact]:
    """The id of a structured CloudEvent and what it says."""
    whole = json.loads(message)
    type, data = whole["type"], whole.get("data") or {}
    state = {
        "item.changed": data.get("title", ""),
        "item.removed": "removed",
        "user.changed": json.dumps(data.get("attributes", {}), sort_keys=True),
    }.get(type)
    at = datetime.fromisoformat(whole["time"])
    return whole["id"], Fact(type, at, data.get("user"), data.get("item"), data.get("value"), state)


class Ledger:
    """Entries, and the judgement. `published` counts acknowledged messages by event id, `garbage` all the others."""

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()
        self.garbage = 0
        self.facts: dict[str, Fact] = {}
        self.garbage_hashes: Counter[str] = Counter()
        self.erased: set[str] = set()  # users whose erasure was acknowledged: nothing of theirs may be left

    def enter(self, values: Iterable[bytes]) -> None:
        """The broker has acknowledged these valid events."""
        for value in values:
            id, said = fact(value)
            self.published[id] += 1
            self.facts.setdefault(id, said)
            if said.type == "user.erased" and said.user is not None:
                self.erased.add(said.user)

    def enter_garbage(self, values: Sequence[bytes]) -> None:
        """The broker has acknowledged these; they can only become dead letters."""
        self.garbage += len(values)
        self.garbage_hashes.update(hashlib.sha256(value).hexdigest() for value in values)

    def judge(self, cursor: Any) -> list[str]:
        """Everything in Postgres that is not as it was sent: lost, doubled, invented or altered events, dead letters
        that are too few or too many, counts and catalogue entries that are not what the events add up to.
        """
        cursor.execute("SELECT id, type, time, user_id, item_id, value FROM events")
        rows = cursor.fetchall()
        return [
            *self._events(rows),
            *self._counts(cursor, rows),
            *self._dead_letters(cursor),
            *self._catalogue(cursor),
        ]

    def _forgotten(self) -> set[str]:
        return {id for id, one in self.facts.items() if one.user in self.erased and one.type != "user.erased"}

    def _events(self, rows: Sequence[tuple[Any, ...]]) -> list[str]:
        stored, forgotten = Counter(row[0] for row in rows), self._forgotten()
        altered = [row[0] for row in rows if row[0] in self.facts and tuple(row[1:]) != self.facts[row[0]].row]
        return [
            *_some("lost", self.published.keys() - forgotten - stored.keys()),
            *_some("invented", stored.keys() - self.published.keys()),
            *_some("brought back", stored.keys() & forgotten),
            *_some("altered", altered),
            *(f"{count} times: {id}" for id, count in stored.items() if count > 1),
        ]

    def _counts(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> list[str]:
        seen = [(user, item, type) for _, type, _, user, item, _ in rows if type.startswith("interaction.")]
        found = []
        cursor.execute("SELECT item_id, type, events FROM item_counts")
        found += _differences("item_counts", cursor.fetchall(), Counter((item, type) for _, item, type in seen))
        cursor.execute("SELECT to_regclass('user_counts')")
        if cursor.fetchone()[0] is not None:
            cursor.execute("SELECT user_id, events FROM user_counts")
            found += _differences("user_counts", cursor.fetchall(), Counter((user,) for user, _, _ in seen))
        cursor.execute("SELECT count(*) FROM event_keys")
        keys = cursor.fetchone()[0]
        return found + [f"{keys} keys for {len(rows)} events"] * (keys != len(rows))

    def _dead_letters(self, cursor: Any) -> list[str]:
        cursor.execute("SELECT payload_sha256, count(*) FROM dead_letters WHERE reason <> 'erased_user' GROUP BY 1")
        stored = {sha256: int(count) for sha256, count in cursor.fetchall()}
        found = []
        if sum(stored.values()) != self.garbage:
            found.append(f"{sum(stored.values())} dead letters, not {self.garbage}")
        elif self.garbage_hashes.total() == self.garbage and stored != dict(self.garbage_hashes):
            found.append("the dead letters are not those messages that were bad")
        cursor.execute("SELECT count(*) FROM dead_letters WHERE reason = 'erased_user'")
        refused, most = cursor.fetchone()[0], sum(self.published[id] for id in self._forgotten())
        return found + [f"{refused} letters of erased users, who sent {most} messages"] * (refused > most)

    def _catalogue(self, cursor: Any) -> list[str]:
        """Whatever order they came in: the newest of an item's and of a user's changes has won. Of two that are equally
        new either may have.
        """
        said: dict[tuple[str, str], list[tuple[datetime, object]]] = {}
        for id in self.published.keys() & self.facts.keys():
            one = self.facts[id]
            if one.type in ("item.changed", "item.removed"):
                said.setdefault(("item", str(one.item)), []).append((one.time, one.state))
            elif one.type == "user.changed" and one.user not in self.erased:
                said.setdefault(("user", str(one.user)), []).append((one.time, one.state))
        cursor.execute("SELECT item_id, CASE WHEN removed THEN 'removed' ELSE title END FROM items")
        stored = {("item", item): state for item, state in cursor.fetchall()}
        cursor.execute("SELECT user_id, attributes FROM users")
        stored |= {("user", user): json.dumps(state, sort_keys=True) for user, state in cursor.fetchall()}
        wrong = []
        for place, changes in said.items():
            newest = max(time for time, _ in changes)
            if stored.get(place) not in {state for time, state in changes if time == newest}:
                wrong.append(f"{' '.join(place)} is {stored.get(place)!r}")
        return _some("not the newest", wrong) + _some(
            "invented", (" ".join(one) for one in stored.keys() - said.keys())
        )


@dataclass(frozen=True)
class Logged:
    """A message as it stands in the topic."""

    partition: int
    offset: int
    value: bytes


def read_log(bootstrap: str, topic: str, partitions: int, quiet_s: float = 3.0) -> list[Logged]:
    """All messages of a topic, by a client that belongs to no group; done when nothing came for `quiet_s`."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","), enable_auto_commit=False, auto_offset_reset="earliest",
        fetch_max_wait_ms=100, metrics_enabled=False,
    )  # fmt: skip
    try:
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        found: list[Logged] = []
        last = time.monotonic()
        while time.monotonic() - last < quiet_s:
            for place, records in consumer.poll(200).items():
                found += [Logged(place.partition, one.offset, one.value) for one in records]
                last = time.monotonic()
        return found
    finally:
        consumer.close()


def _some(what: str, ids: Iterable[str]) -> list[str]:
    ordered = sorted(ids)
    rest = [f"{what}: and {len(ordered) - SHOWN} more"] * (len(ordered) > SHOWN)
    return [f"{what}: {id}" for id in ordered[:SHOWN]] + rest


def _differences(table: str, rows: Iterable[tuple[Any, ...]], wanted: Counter[tuple[str, ...]]) -> list[str]:
    """`rows` end with a count; what comes before it is what was counted."""
    stored = {tuple(row[:-1]): int(row[-1]) for row in rows}
    places = {place for place in stored.keys() | wanted.keys() if stored.get(place, 0) != wanted[place]}
    return _some(table, (f"{' '.join(place)} {stored.get(place, 0)}, not {wanted[place]}" for place in places))
