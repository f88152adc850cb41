"""What the commands print: tables for people, one JSON document with `--json`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from core.progress import Silent, Terminal
from core.settings import Settings
from core.store import Store, open_store
from core.store.partitions import EventTable
from headwater.services import attach
from jobs.context import JobContext, job_context

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable JSON document.")]

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def opened(settings: Settings, *, progress: bool = True) -> Iterator[JobContext]:
    """The store and registry of the configured services, or of those a running `headwater up` or `demo` started."""
    with open_store(attach(settings)) as store:
        yield job_context(attach(settings), store, Terminal() if progress else Silent())


def print_json(document: Any) -> None:
    """Print a value as JSON; times as RFC 3339, bytes as text."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document, enc_hook=str)).decode() + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print rows under their columns, or `empty` when there are none."""
    if not rows:
        console.print(empty)
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)


def months_of(tables: Sequence[EventTable]) -> list[tuple[object, ...]]:
    """(what, from, to, number, MB) of the attached months, of the default partition, and of the detached months."""
    groups = {
        "attached": [one for one in tables if one.attached and one.first],
        "default": [one for one in tables if not one.first],
        "detached": [one for one in tables if not one.attached],
    }
    return [
        (
            name, str(found[0].first or "")[:7], str(found[-1].first or "")[:7], len(found),
            f"{sum(one.size_bytes for one in found) / 1e6:,.1f}",
        )
        for name, found in groups.items() if found
    ]  # fmt: skip


def status_of(store: Store) -> dict[str, Any]:
    """What runs and how much of it there is: events and their tables, lag, dead letters, models, jobs."""
    return {
        "totals": store.catalogue.totals(),
        "messages_behind": store.lag.behind(),
        "event_tables": store.partitions.tables(),
        "dead_letters": store.dead_letters.counts(),
        "text_requests": store.content_requests.counts(),
        "positions": [
            {"topic": topic, "partition": partition, "next_offset": offset}
            for topic, _, partition, offset in store.dead_letters.positions()
        ],
        "models": [
            {
                "name": one.name, "version": one.version, "state": one.state, "trained_until": one.trained_until,
                "created_at": one.created_at, "verdict": one.verdict,
            }
            for one in store.versions.versions(limit=20)
        ],
        "jobs": list(store.job_runs.history(10)),
    }  # fmt: skip
