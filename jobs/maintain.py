"""Housekeeping: months of the event table are attached before they are needed."""

from __future__ import annotations

from jobs.context import JobContext

MONTHS_AHEAD = 3


def maintain(context: JobContext) -> list[str]:
    """Attach the partitions of this month and the next three; returns the names made. Raises DatabaseUnavailable."""
    return context.store.partitions.attach_ahead(MONTHS_AHEAD)
