"""Housekeeping: months of the event table are attached before they are needed, and detached when they are too old.

What is where after a run depends on the settings and the date alone, not on when events came or how often it ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from core.store.partitions import month
from jobs.context import JobContext

MONTHS_AHEAD = 3


@dataclass(frozen=True)
class Maintained:
    """What a run changed: tables by name, and the rows that it moved from the default partition to detached months."""

    attached: tuple[str, ...]
    detached: tuple[str, ...] = ()
    moved_rows: int = 0
    dropped: tuple[str, ...] = ()


def maintain(context: JobContext, now: datetime | None = None) -> Maintained:
    """Attach this month and the next three; detach, and at last drop, what the settings say is too old.

    Raises DatabaseUnavailable when a lock is not had in time: the run that follows does the rest.
    """
    settings, partitions = context.settings, context.store.partitions
    now = now or datetime.now(UTC)
    attached = partitions.attach_ahead(MONTHS_AHEAD, now)
    if settings.retention_months is None:
        return Maintained(tuple(attached))
    limit = month(now.date(), -settings.retention_months)
    attached += partitions.attach_from(limit)  # the limit was raised
    detached, moved_rows = partitions.detach_before(limit), partitions.sweep_before(limit)
    grace = settings.retention_grace_months
    dropped = [] if grace is None else partitions.drop_before(month(limit, -grace))
    return Maintained(tuple(attached), tuple(detached), moved_rows, tuple(dropped))
