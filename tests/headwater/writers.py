"""A world for the writing of texts: a catalogue in Postgres, the topic of requests, workers as threads or processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.bus import Bus, Message, ensure_topic
from core.settings import Settings
from core.store import Store, open_store
from ingest.requests import run_requests
from jobs.context import job_context
from jobs.generate import TextWriter
from jobs.requests import RequestWorker
from jobs.text_model import TextModel
from tests.streams import Writer
from tests.texts import Scribe, film
from tests.threads import in_a_thread

WORKER = Path(__file__).with_name("worker.py")


class Writers:
    """One tenant, and what its workers have written."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store: Store = open_store(settings)
        self.events = Writer(self.store)
        self.processes: list[subprocess.Popen[str]] = []
        self._films = 0

    def films(self, count: int, year: int = 1995, first: int = 0) -> None:
        """Have the catalogue say this of items i0, i1, ...: newer than whatever it said before."""
        changes = []
        for number in range(first, first + count):
            self._films += 1
            changes.append(film(self._films, f"i{number}", f"Film {number}", year))
        self.events.write(changes)

    @contextmanager
    def working(self, scribe: Scribe | None, settings: Settings | None = None) -> Iterator[threading.Event]:
        """A worker in a thread until the block ends; what it raised is raised there."""
        chosen = settings or self.settings

        def work(stop: threading.Event) -> None:
            model = TextModel(lambda: scribe) if scribe is not None else None
            context = job_context(chosen, self.store)
            with closing(RequestWorker(context, TextWriter(context, model, None))) as worker:
                run_requests(chosen, self.store, worker, stop=stop)

        with in_a_thread(work) as stop:
            try:
                yield stop
            finally:
                stop.set()
                if scribe is not None:
                    scribe.free.set()

    def process(self, **environ: str) -> subprocess.Popen[str]:
        """A worker in a process of its own, to be killed."""
        ours = {**os.environ, **self.settings.environ(), "PYTHONPATH": str(WORKER.parents[2]), **environ}
        self.processes.append(subprocess.Popen([sys.executable, str(WORKER)], env=ours, text=True))
        return self.processes[-1]

    def publish(self, *messages: Message) -> None:
        """Publish whatever it is to the topic of requests."""
        assert self.settings.kafka_bootstrap is not None
        ensure_topic(self.settings.kafka_bootstrap, self.settings.requests_topic, self.settings.topic_partitions)
        with Bus(self.settings.kafka_bootstrap, self.settings.requests_topic) as bus:
            bus.publish(messages)

    def eventually(self, true: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait for something that happens soon, and fail when it does not."""
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, f"it did not happen in time: {self.store.content_requests.counts()}"
            time.sleep(0.05)

    def ask(self, query: str, **given: Any) -> list[Any]:
        """Rows of a query."""
        with self.store.database.begin() as connection:
            return list(connection.execute(sa.text(query), given))

    def number(self, query: str, **given: Any) -> int:
        """The only number of a query."""
        return int(self.ask(query, **given)[0][0] or 0)

    def fresh(self) -> int:
        """Texts that are as new as their item."""
        return self.number(
            "SELECT count(*) FROM contents JOIN items USING (item_id) WHERE facts_at >= changed_at AND text <> ''"
        )

    def open(self) -> int:
        """Requests that are not settled."""
        return self.number("SELECT count(*) FROM content_requests WHERE state <> 'dead'")

    def changes(self) -> dict[int, int]:
        """How many texts became another one so often."""
        query = "SELECT n, count(*) FROM (SELECT item_id, count(*) AS n FROM content_changes GROUP BY 1) c GROUP BY n"
        return {int(times): int(texts) for times, texts in self.ask(query)}

    def close(self) -> None:
        """End what was started."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.store.close()
