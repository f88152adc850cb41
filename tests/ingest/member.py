"""A consumer in a process of its own, configured by HEADWATER_*; SIGTERM ends it in order.

Faults can be built in, here and nowhere in the product: `say` prints a line before each transaction and then waits a
moment, so that the parent can strike in between; `stop-at-poll` prints a line when messages have come and goes no
further; `no-fence` lets anyone write any partition.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import sqlalchemy as sa

from core.settings import load_settings
from core.store import events, open_store
from core.tables import consumer_offsets as offsets
from core.telemetry import set_up_logs
from ingest.consumer import run_consumer
from ingest.kafka import Stream


def advance_unfenced(_self: Any, connection: sa.Connection, advances: Any) -> None:
    """What a consumer without epochs would do: write the offset it thinks it has reached."""
    for one in advances:
        mine = (offsets.c.topic_id == one.claim.topic_id, offsets.c.partition == one.claim.partition)
        connection.execute(sa.update(offsets).where(*mine).values(next_offset=one.next_offset))


def build_in(faults: list[str]) -> None:
    """Change the loaded program."""
    if "no-fence" in faults:
        events.EventStore._advance = advance_unfenced  # type: ignore[method-assign]
    if "stop-at-poll" in faults:
        poll = Stream.poll

        def and_stop(self: Stream, timeout_ms: int) -> Any:
            records = poll(self, timeout_ms)
            if records:
                print("polled", flush=True)
                threading.Event().wait()
            return records

        Stream.poll = and_stop  # type: ignore[method-assign]
    if "say" in faults:
        append = events.EventStore.append

        def slowly(self: Any, *arguments: Any) -> Any:
            print("appending", flush=True)
            time.sleep(0.3)
            return append(self, *arguments)

        events.EventStore.append = slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    set_up_logs("WARNING")
    build_in(sys.argv[1:])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(os.environ)
    with open_store(settings) as store:
        run_consumer(settings, store, stop=stop)
