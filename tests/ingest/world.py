"""A world for the ingest: a topic, a database, consumers as threads or processes, and a ledger that judges them."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2

from core.bus import Bus, Message, ensure_topic
from core.events import (
    Body,
    Impression,
    Interaction,
    ItemChanged,
    ItemRemoved,
    UserChanged,
    encode,
    partition_key,
)
from core.settings import Settings
from core.store import Store, open_store
from ingest.consumer import BatchReport, run_consumer
from tests.ingest.ledger import Ledger
from tests.threads import in_a_thread

MEMBER = Path(__file__).with_name("member.py")
# Everything the ingest writes, less what depends on when and where it was written.
CONTENT = {
    "events": "key, source, id, type, time, user_id, item_id, value, session, slate, position, data",
    "event_keys": "key",
    "item_counts": "item_id, type, events",
    "user_counts": "user_id, events",
    "items": "item_id, title, description, categories, attributes, available, hidden, removed, published_at, "
    "expires_at, locale, changed_at, changed_key",
    "users": "user_id, attributes, changed_at, changed_key",
    "erased_users": "user_hash, erased_at",
}


class World:
    """One tenant's topic and tables, and the ledger of what was published to it."""

    def __init__(self, settings: Settings, seed: int, judge_url: str | None = None) -> None:
        self.settings = settings
        self.judge_url = judge_url or settings.database_url  # where Postgres really is
        self.store: Store = open_store(settings)
        self.seed = seed
        self.random = random.Random(seed)
        self.ledger = Ledger()
        self.reports: list[BatchReport] = []
        self._members: list[subprocess.Popen[str]] = []
        self._ids = 0
        self._bus: Bus | None = None
        self._judge: Any = None
        self.meet_the_judge_again()

    def meet_the_judge_again(self) -> None:
        """Connect to Postgres, apart from the store."""
        if self._judge is not None:
            self._judge.close()
        self._judge = self._connect()
        self._judge.autocommit = True

    def _connect(self) -> Any:
        return psycopg2.connect(self.judge_url, options=f"-csearch_path={self.settings.namespace}")

    @contextmanager
    def locked(self, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
        """Someone else, at a connection of his own, has a table locked."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield
        finally:
            connection.close()

    @property
    def published(self) -> Counter[str]:
        """Id of each valid event -> how often it was published."""
        return self.ledger.published

    @property
    def garbage(self) -> int:
        """How many messages were published that can only become dead letters."""
        return self.ledger.garbage

    @garbage.setter
    def garbage(self, count: int) -> None:
        self.ledger.garbage = count

    # What to publish

    def event(self, body: Body, *, id: str | None = None, time: datetime | None = None) -> Message:
        """A structured CloudEvent; its id is new unless given."""
        self._ids += 1
        at = time or datetime.now(UTC) - timedelta(seconds=self.random.randrange(3600))
        return Message(partition_key(body), encode(body, id=id or f"e{self._ids}", source="/test", time=at))

    def interactions(self, count: int, users: int = 50, items: int = 30) -> list[Message]:
        """Views of random items by random users."""
        pick = self.random.randrange
        return [
            self.event(Interaction(user=f"u{pick(users)}", item=f"i{pick(items)}", kind="view", value=float(pick(5))))
            for _ in range(count)
        ]

    def mixture(self, count: int) -> list[Message]:
        """Every kind of event but erasures, with catalogue changes that contradict one another."""
        pick, now = self.random.randrange, datetime.now(UTC)
        made = []
        for number in range(count):
            user, item = f"u{pick(20)}", f"i{pick(20)}"
            body: Body = self.random.choice(
                [
                    Interaction(
                        user=user, item=item, kind=self.random.choice(["view", "purchase"]), context={"n": number}
                    ),
                    Interaction(user=user, item=item, kind="rating", value=float(pick(5))),
                    Impression(slate=f"s{number}", items=(item,), user=self.random.choice([user, None])),
                    ItemChanged(item=item, title=f"title {number}", attributes={"n": number}),
                    ItemRemoved(item=item),
                    UserChanged(user=user, attributes={"n": number}),
                ]
            )
            made.append(self.event(body, time=now - timedelta(seconds=pick(30))))  # few seconds: many ties
        return made

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish valid events and enter them in the ledger."""
        self._publish(messages)
        self.ledger.enter(message.value for message in messages)

    def publish_garbage(self, *payloads: bytes) -> None:
        """Publish what can only become dead letters."""
        self._publish([Message(b"%d" % self.random.randrange(1000), payload) for payload in payloads])
        self.ledger.enter_garbage(payloads)

    def _publish(self, messages: Sequence[Message]) -> None:
        if self._bus is None:
            assert self.settings.kafka_bootstrap is not None
            ensure_topic(self.settings.kafka_bootstrap, self.settings.topic, self.settings.topic_partitions)
            self._bus = Bus(self.settings.kafka_bootstrap, self.settings.topic)
        for start in range(0, len(messages), 1000):
            self._bus.publish(messages[start : start + 1000], timeout_s=60)

    # Who consumes

    @contextmanager
    def consumer(self, settings: Settings | None = None) -> Iterator[threading.Event]:
        """A consumer in a thread until the block ends; what it raised is raised there.

        The event stops it, and is set when it ended by itself.
        """
        chosen = settings or self.settings
        with in_a_thread(
            lambda stop: run_consumer(chosen, self.store, stop=stop, on_batch=self.reports.append), within_s=15
        ) as stop:
            yield stop

    def process(
        self, *faults: str, environ: Mapping[str, str] | None = None, inside: Sequence[str] = (), stderr: Any = None
    ) -> subprocess.Popen[str]:
        """A consumer in a process of its own, to be killed; see member.py for the faults it can have. `inside` is a
        command that runs it somewhere else.
        """
        environ = {**os.environ, **self.settings.environ(), "PYTHONPATH": str(MEMBER.parents[2]), **(environ or {})}
        command = [*inside, sys.executable, str(MEMBER), *faults]
        self._members.append(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True))
        return self._members[-1]

    def wait_until_settled(self, timeout_s: float = 60) -> None:
        """Wait until every message published is written or buried: the offsets reached add up to their number."""
        wanted = self.published.total() + self.garbage
        self.wait_until(lambda: self.reached() >= wanted, timeout_s, lambda: f"{self.reached()} of {wanted} consumed")

    def wait_until(self, happened: Callable[[], bool], timeout_s: float, state: Callable[[], str] = str) -> None:
        """Poll until `happened`; fail after `timeout_s`, or when a member ended by itself."""
        end = time.monotonic() + timeout_s
        while not happened():
            assert not [one for one in self._members if (one.poll() or 0) > 0], "a member crashed"
            assert time.monotonic() < end, f"not within {timeout_s} s (seed {self.seed}): {state()}"
            time.sleep(0.05)

    # What the ledger says

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the judge's own connection."""
        with self._judge.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def execute(self, statement: str) -> None:
        """A statement on the judge's connection."""
        with self._judge.cursor() as cursor:
            cursor.execute(statement)

    def number(self, query: str) -> int:
        """The only number of a query."""
        return int(self.ask(query)[0][0] or 0)

    def reached(self) -> int:
        """How many messages the offsets in Postgres have passed, of all topics of that name."""
        return self.number("SELECT sum(next_offset) FROM consumer_offsets")

    def rows(self) -> int:
        return self.number("SELECT count(*) FROM events")

    def dead(self) -> int:
        return self.number("SELECT count(*) FROM dead_letters")

    def troubles(self) -> list[str]:
        """Everything that is not as the ledger says: lost, doubled, invented or altered events, wrong counts."""
        with self._judge.cursor() as cursor:
            return self.ledger.judge(cursor)

    def digest(self) -> dict[str, str]:
        """A hash of every table's content, whatever the order of its rows."""
        answer = {}
        for table, columns in CONTENT.items():
            rows = sorted(row[0] for row in self.ask(f"SELECT ROW({columns})::text FROM {table}"))
            answer[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
        return answer

    def disconnect(self) -> None:
        """Forget the producer, whose broker is gone."""
        if self._bus is not None:
            self._bus.close()
        self._bus = None

    def close(self) -> None:
        self.disconnect()
        self._judge.close()
        self.store.close()
