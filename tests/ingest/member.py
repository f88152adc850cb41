"""A consumer in a process of its own, configured by HEADWATER_*; SIGTERM ends it in order.

Faults can be built in, here and nowhere in the product: `say` prints a line before each transaction and then waits a
moment, so that the parent can strike in between; `no-fence` lets anyone write any partition; `no-identity` inserts
every row whether or not its event is known.
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

WITHOUT_IDENTITY = f"""
WITH inserted AS (
    INSERT INTO events ({events.COLUMNS}, txn) SELECT {events.COLUMNS}, 0 FROM staging RETURNING type
)
SELECT split_part(type, '.', 1), count(*) FROM inserted GROUP BY 1
"""


def advance_unfenced(_self: Any, connection: sa.Connection, advances: Any) -> None:
    """What a consumer without epochs would do: write the offset it thinks it has reached."""
    for one in advances:
        mine = (offsets.c.topic_id == one.claim.topic_id, offsets.c.partition == one.claim.partition)
        connection.execute(sa.update(offsets).where(*mine).values(next_offset=one.next_offset))


def build_in(faults: list[str]) -> None:
    """Change the loaded program."""
    if "no-fence" in faults:
        events.EventStore._advance = advance_unfenced  # type: ignore[method-assign]
    if "no-identity" in faults:
        events.INSERT_NEW = WITHOUT_IDENTITY
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
