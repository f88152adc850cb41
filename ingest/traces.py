"""The traces of events that meet in one transaction: each goes on, and the transaction links to all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from core import tracing
from ingest.reader import Record

MOST = 100  # traces of one batch that are followed: a replay brings thousands
IN_EVENT = re.compile(rb'"traceparent"\s*:\s*"([0-9a-f-]{55})"')  # CloudEvents' distributed tracing extension
HEADERS = (tracing.TRACEPARENT, "ce_traceparent")

_NOTHING: AbstractContextManager[None] = nullcontext()


def transaction(batch: Sequence[tuple[Record, object]]) -> AbstractContextManager[None]:
    """Time the block as the transaction that writes the batch: a span of its own, linked to the traces of its messages,
    in each of which a span says that its events were written, and links back.
    """
    return _traced([record for record, _ in batch]) if tracing.on() else _NOTHING


@contextmanager
def _traced(records: Sequence[Record]) -> Iterator[None]:
    producers = list(dict.fromkeys(one for record in records if (one := producer(record)) is not None))[:MOST]
    about: dict[str, str | int] = {"db.system.name": "postgresql", "messaging.batch.message_count": len(records)}
    with ExitStack() as stack:
        whole = stack.enter_context(
            tracing.span("ingest transaction", "CLIENT", parent="", links=producers, attributes=about)
        )
        back = tracing.traceparent(whole)
        for one in producers:
            links = [back] if back else []
            stack.enter_context(tracing.span("ingest", "CONSUMER", parent=one, links=links, attributes=about))
        yield


def producer(record: Record) -> str | None:
    """The context in which a message was published, if it says so."""
    for name, value in record.headers or ():
        if name.lower() in HEADERS and value is not None:
            return value.decode("latin-1")
    found = IN_EVENT.search(record.value or b"")
    return found.group(1).decode() if found else None
