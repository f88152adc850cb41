"""How fast the ingest is, beside what Postgres could do at best and at worst. One table, one sitting, medians.

    python bench/ingest.py [--events N] [--repeats N] [--latency] [--memory N]

ceiling   COPY of the same rows, prepared beforehand, into a table with the same columns, the same indexes, a unique key
floor     one INSERT and one transaction a row
consumer  from the broker to committed rows, counts and offsets: poll, decode, validate, deduplicate, write

Postgres, the broker and the consumers share this machine's cores. The split says how the consumer's own time went, in
microseconds a message: staging is COPY, insert every other statement. --latency is the time from the broker's timestamp to
the commit, which is when serving can read the event. --memory consumes N events in one go: rate and memory at every tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psycopg2
from confluent_kafka import Producer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from core.bus import Bus, Message, ensure_topic  # noqa: E402 -- run as a script, from anywhere
from core.events import Interaction, decode, encode, partition_key  # noqa: E402
from core.progress import Silent  # noqa: E402
from core.settings import Settings  # noqa: E402
from core.store.rows import COLUMNS, copy_lines  # noqa: E402
from headwater.broker import EmbeddedBroker  # noqa: E402
from headwater.postgres import EmbeddedPostgres  # noqa: E402
from migrations.run import upgrade  # noqa: E402

WORKER = Path(__file__).with_name("ingest_worker.py")
BATCHES = (500, 2_000, 10_000)
RATES = (1_000, 5_000, 10_000)
FLOOR_ROWS = 3_000
LATENCY_S = 10
CEILING = (
    "DROP TABLE IF EXISTS ceiling",
    "CREATE TABLE ceiling (LIKE events)",
    "CREATE UNIQUE INDEX ON ceiling (key)",
    "CREATE INDEX ON ceiling (user_id, time DESC) WHERE user_id IS NOT NULL",
    "CREATE INDEX ON ceiling USING brin (txn) WITH (pages_per_range = 32)",
)
EMPTY = "TRUNCATE events, event_keys, item_counts, user_counts, items, users, dead_letters, consumer_offsets"


def messages(count: int, seed: int = 1) -> Iterator[Message]:
    """Interactions as a shop has them: popular items, a session, a little context; some 270 bytes each."""
    random, now = Random(seed), datetime.now(UTC)
    kinds = ("view", "view", "view", "click", "cart", "purchase")
    for number in range(count):
        body = Interaction(
            user=f"user-{random.randrange(50_000)}",
            item=f"item-{int(random.paretovariate(0.6)) % 5_000}",
            kind=random.choice(kinds),
            value=1.0,
            session=f"s{random.randrange(100_000)}",
            context={"page": random.randrange(10)},
        )
        at = now - timedelta(seconds=random.randrange(3600))
        yield Message(partition_key(body), encode(body, id=f"e{seed}-{number}", source="/bench", time=at))


class Bench:
    """The services, the topic full of events, and the measurements."""

    def __init__(self, settings: Settings, count: int) -> None:
        self.settings, self.count = settings, count
        assert settings.database_url is not None
        self._connection = psycopg2.connect(settings.database_url, options=f"-csearch_path={settings.namespace}")
        self._connection.autocommit = True

    def publish(self) -> None:
        """Fill the topic."""
        assert self.settings.kafka_bootstrap is not None
        ensure_topic(self.settings.kafka_bootstrap, self.settings.topic, self.settings.topic_partitions)
        # Not core.bus: millions of messages are only the stage here.
        producer = Producer(
            {"bootstrap.servers": self.settings.kafka_bootstrap, "linger.ms": 20, "partitioner": "murmur2_random"}
        )
        for message in messages(self.count):
            while True:
                try:
                    producer.produce(self.settings.topic, message.value, message.key)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0

    def rows(self) -> list[bytes]:
        """The events as COPY lines, one each."""
        events = [decode(message.value) for message in messages(self.count)]
        return [line.encode() for line in copy_lines({event.identity: event for event in events}, 0)]

    def ceiling(self, rows: Sequence[bytes], batch: int) -> float:
        """Rows/s of plain COPY, a transaction a batch."""
        self._execute(*CEILING)
        parts = [b"".join(rows[start : start + batch]) for start in range(0, len(rows), batch)]
        with self._connection.cursor() as cursor:
            start = time.monotonic()
            for part in parts:
                cursor.copy_expert(f"COPY ceiling ({COLUMNS}) FROM STDIN", BytesIO(part))
            return len(rows) / (time.monotonic() - start)

    def floor(self, rows: Sequence[bytes]) -> float:
        """Rows/s of one INSERT a row."""
        self._execute(*CEILING)
        places = ", ".join(["%s"] * (COLUMNS.count(",") + 1))
        statement = f"INSERT INTO ceiling ({COLUMNS}) VALUES ({places}) ON CONFLICT DO NOTHING"
        values = [[None if one == "\\N" else one for one in row.decode()[:-1].split("\t")] for row in rows[:FLOOR_ROWS]]
        with self._connection.cursor() as cursor:
            start = time.monotonic()
            for one in values:
                cursor.execute(statement, one)
            return len(values) / (time.monotonic() - start)

    def consume(self, batch: int, members: int) -> dict[str, Any]:
        """Events/s from the broker to the last commit, and the members' accounts of it."""
        self._execute(EMPTY, "CHECKPOINT")
        with self._workers(batch, members) as workers:
            for worker in workers:
                worker.stdin.write("go\n")
                worker.stdin.flush()
            while self._reached() < self.count:
                time.sleep(0.1)
            accounts = [json.loads(worker.communicate()[0]) for worker in workers]
        assert self._number("SELECT count(*) FROM events") == self.count
        took = max(one["ended"] for one in accounts) - min(one["began"] for one in accounts)
        return {"rate": self.count / took, "accounts": accounts}

    def latency(self, rate: int) -> tuple[float, float]:
        """p50 and p99 in ms from the broker's timestamp to the commit, under `rate` events/s."""
        self._execute(EMPTY)
        namespace = f"{self.settings.namespace}_{rate}"
        settings = msgspec.structs.replace(self.settings, namespace=namespace)
        upgrade(str(settings.database_url), namespace)
        bench = Bench(settings, rate * LATENCY_S)
        ensure_topic(str(settings.kafka_bootstrap), settings.topic, settings.topic_partitions)
        ready = list(messages(bench.count))
        with (
            bench._workers(settings.ingest_batch_events, 1, "--latency") as (worker,),
            Bus(str(settings.kafka_bootstrap), settings.topic) as bus,
        ):
            worker.stdin.write("go\n")
            worker.stdin.flush()
            bus.publish_all(ready, bench.count, Silent(), rate=rate)
            while bench._reached() < bench.count:
                time.sleep(0.1)
            waits = sorted(json.loads(worker.communicate()[0])["waits_ms"])
        return waits[len(waits) // 2], waits[len(waits) * 99 // 100]

    def memory(self) -> Iterator[tuple[int, float, float]]:
        """One consumer, everything in one go: after every tenth, the events so far, events/s since, and MB resident."""
        self._execute(EMPTY, "CHECKPOINT")
        with self._workers(self.settings.ingest_batch_events, 1) as (worker,):
            worker.stdin.write("go\n")
            worker.stdin.flush()
            before, began = 0, time.monotonic()
            for tenth in range(1, 11):
                while self._reached() < self.count * tenth // 10:
                    time.sleep(0.1)
                reached, now = self._reached(), time.monotonic()
                resident = Path(f"/proc/{worker.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
                yield reached, (reached - before) / (now - began), int(resident) / 1024
                before, began = reached, now
            worker.communicate()
        assert self._number("SELECT count(*) FROM events") == self.count

    @contextmanager
    def _workers(self, batch: int, members: int, *options: str) -> Iterator[list[Any]]:
        settings = msgspec.structs.replace(self.settings, ingest_batch_events=batch)
        environ = {**os.environ, **settings.environ(), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), *options]
        pipe = subprocess.PIPE
        workers = [
            subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(members)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            time.sleep(settings.session_timeout_ms / 1000 * (members - 1))  # a first member rebalances once more
            yield workers
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()

    def _execute(self, *statements: str) -> None:
        with self._connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def _number(self, query: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return int(cursor.fetchone()[0] or 0)

    def _reached(self) -> int:
        return self._number("SELECT sum(next_offset) FROM consumer_offsets")


def run(count: int, repeats: int, latency: bool, memory: int) -> None:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        postgres, broker = EmbeddedPostgres(home / "services"), EmbeddedBroker(home / "services")
        try:
            settings = Settings(
                home=home,
                namespace="bench",
                database_url=postgres.start(),
                kafka_bootstrap=broker.start(),
                secret="bench",
            )
            upgrade(str(settings.database_url), settings.namespace)
            if repeats:
                bench = Bench(settings, count)
                bench.publish()
                _table(bench, repeats)
            if latency:
                for rate in RATES:
                    p50, p99 = Bench(settings, count).latency(rate)
                    print(f"{f'event to commit at {rate:,}/s':44}  p50 {p50:6.0f} ms   p99 {p99:6.0f} ms", flush=True)
            if memory:
                _memory(msgspec.structs.replace(settings, namespace="memory"), memory)
        finally:
            broker.stop()
            postgres.stop()


def _table(bench: Bench, repeats: int) -> None:
    """Each repeat measures everything once, so that what else the machine does falls on all alike."""
    rows = bench.rows()
    size = sum(map(len, rows)) / len(rows)
    print(f"{bench.count:,} events, {size:.0f} bytes a row, medians of {repeats}, {os.cpu_count()} cores", flush=True)
    floors, ceilings, runs = [], defaultdict(list), defaultdict(list)
    for _ in range(repeats):
        floors.append(bench.floor(rows))
        for batch in BATCHES:
            ceilings[batch].append(bench.ceiling(rows, batch))
            for members in (1, 2):
                runs[members, batch].append(bench.consume(batch, members))
    print(f"{'floor: one INSERT a row':44}{statistics.median(floors):>10,.0f} rows/s")
    for batch, rates in ceilings.items():
        print(f"{f'ceiling: COPY, batches of {batch:,}':44}{statistics.median(rates):>10,.0f} rows/s")
    for (members, batch), measured in sorted(runs.items()):
        label = f"{members} consumer{'s' * (members > 1)}, batches of {batch:,}"
        of_copy = statistics.median(one["rate"] / rate for one, rate in zip(measured, ceilings[batch], strict=True))
        median = sorted(measured, key=lambda one: one["rate"])[len(measured) // 2]
        split = _split(median["accounts"])
        print(f"{label:44}{median['rate']:>10,.0f} events/s   {of_copy:.2f} of COPY   {split}", flush=True)


def _memory(settings: Settings, count: int) -> None:
    upgrade(str(settings.database_url), settings.namespace)
    bench = Bench(settings, count)
    bench.publish()
    for reached, rate, resident_mb in bench.memory():
        print(f"{f'{reached:,} events in one go':44}{rate:>10,.0f} events/s   {resident_mb:.0f} MB", flush=True)


def _split(accounts: list[dict[str, Any]]) -> str:
    """Microseconds a message of one consumer's time, by step, and its largest memory."""
    spent: dict[str, float] = defaultdict(float)
    for account in accounts:
        for label, seconds in account["spent"].items():
            spent[label] += seconds
        spent["cpu"] += account["cpu"]
    count = sum(account["messages"] for account in accounts)
    known = spent["copy"] + spent["insert"]
    elsewhere = spent["rows"] + spent["offsets"] + spent["erased"] + spent["rest"]
    steps = {
        "poll": spent["poll"],
        "decode": spent["decode"],
        "lines": spent["rows"] - known,
        "staging": spent["copy"],
        "insert": spent["insert"],
        "erased": spent["erased"],
        "commit": spent["write"] - elsewhere,
        "account": spent["account"],
    }
    peak = max(account["peak_mb"] for account in accounts)
    shown = "  ".join(f"{name} {1e6 * value / count:.1f}" for name, value in steps.items())
    return f"us: {shown}  cpu {1e6 * spent['cpu'] / count:.1f}  {peak:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3, help="0 leaves the table out")
    parser.add_argument("--latency", action="store_true", help="also the time from event to commit at fixed rates")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="also N events in one go, such as 5000000")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        run(arguments.events, arguments.repeats, arguments.latency, arguments.memory)


if __name__ == "__main__":
    main()
