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
from io import BytesIO
from typing import Any

import sqlalchemy as sa

from core.settings import load_settings
from core.store import events, open_store, rows
from core.tables import consumer_offsets as offsets
from core.telemetry import set_up_logs
from ingest.consumer import run_consumer


def insert_everything(_self: Any, cursor: Any, batch: Any) -> dict[str, int]:
    """What a consumer without identities would do: insert every row it reads."""
    lines = "".join(rows.copy_lines({event.identity: event for event in batch}, 0))
    cursor.copy_expert(f"COPY events ({rows.COLUMNS}) FROM STDIN", BytesIO(lines.encode()))
    return {"interaction": len(batch)}


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
        rows.RowWriter.insert = insert_everything  # type: ignore[method-assign]
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
