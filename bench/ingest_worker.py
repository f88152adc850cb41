"""One consumer of bench/ingest.py, in a process of its own, with its steps timed from outside."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from core.settings import load_settings  # noqa: E402 -- run as a script, from anywhere
from core.store import events as event_store  # noqa: E402
from core.store import open_store  # noqa: E402
from ingest.consumer import Consumer  # noqa: E402


class Worker:
    """It joins, waits for `go`, and consumes until its input ends."""

    def __init__(self, latency: bool) -> None:
        self.settings = load_settings(os.environ)
        self.store = open_store(self.settings)
        self.spent: dict[str, float] = defaultdict(float)
        self.messages = 0
        self.ended = 0.0
        self.waits_ms: list[float] = []
        self._latency = latency

    def run(self) -> dict[str, Any]:
        """What was consumed, when it began and ended, and where the time went (seconds)."""
        consumer = Consumer(self.settings, self.store, self._report)
        self._instrument(consumer)
        end = threading.Event()
        with consumer.join() as stream:
            while not stream.waiting:
                stream.poll(50)
            print("ready", flush=True)
            threading.Thread(target=lambda: (sys.stdin.readline(), end.set()), daemon=True).start()
            while not end.is_set():  # a member all the while, so that the group stays as it is
                stream.poll(20)
            end.clear()
            threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
            self.spent.clear()
            began, cpu = time.monotonic(), time.process_time()
            stream.poll = self._clock("poll", stream.poll)  # type: ignore[method-assign]
            while not end.is_set():
                consumer.step(stream)
        self.store.close()
        status = Path("/proc/self/status").read_text()  # not getrusage: it counts what the parent had
        peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        return {
            "messages": self.messages, "began": began, "ended": self.ended, "spent": dict(self.spent),
            "cpu": time.process_time() - cpu, "peak_mb": peak_mb, "waits_ms": self.waits_ms,
        }  # fmt: skip

    def _report(self, report: Any) -> None:
        self.messages += report.messages
        self.ended = time.monotonic()

    def _instrument(self, consumer: Consumer) -> None:
        """Time the steps from outside: the product carries no timers of ours."""
        clock = self._clock
        consumer._decode = clock("decode", consumer._decode)  # type: ignore[method-assign]
        consumer._account = clock("account", consumer._account)  # type: ignore[method-assign]
        store = self.store.events
        store.append = clock("write", store.append)  # type: ignore[method-assign]
        cursor = event_store._cursor

        def timed(connection: Any) -> Any:
            return _TimedCursor(cursor(connection), clock)

        event_store._cursor = timed
        for name, label in (("_advance", "offsets"), ("_without_erased", "erased"), ("_change", "rest")):
            setattr(store, name, clock(label, getattr(store, name)))
        store._rows.insert = clock("rows", store._rows.insert)  # type: ignore[method-assign]
        if self._latency:
            account = consumer._account

            def measured(stream: Any, batch: Any, *rest: Any) -> None:
                now_ms = time.time() * 1000
                self.waits_ms += [now_ms - record.timestamp for record, _ in batch]
                account(stream, batch, *rest)

            consumer._account = measured  # type: ignore[method-assign]

    def _clock(self, label: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                self.spent[label] += time.perf_counter() - start

        return timed


class _TimedCursor:
    """A cursor whose COPY counts as staging and whose statements as insert."""

    def __init__(self, cursor: Any, clock: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
        self._cursor = cursor
        self.copy_expert = clock("copy", cursor.copy_expert)
        self.execute = clock("insert", cursor.execute)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", action="store_true", help="also how long each message waited for its commit")
    print(json.dumps(Worker(parser.parse_args().latency).run()))
