"""Reading the scheduler's tables: what ran, when, and how it ended. procrastinate writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.store.database import Database

HISTORY = sa.text("""
SELECT j.id, j.task_name AS name, j.status::text AS status, j.attempts, j.args, j.scheduled_at,
       max(e.at) FILTER (WHERE e.type = 'started') AS started_at,
       max(e.at) FILTER (WHERE e.type IN ('succeeded', 'failed', 'cancelled', 'aborted', 'deferred_for_retry')) AS finished_at,
       min(e.at) FILTER (WHERE e.type = 'deferred') AS deferred_at
FROM procrastinate_jobs j LEFT JOIN procrastinate_events e ON e.job_id = j.id
GROUP BY j.id ORDER BY j.id DESC LIMIT :limit
""")


@dataclass(frozen=True)
class JobRun:
    """One run of a job. `status`: todo (waiting, or waiting to be tried again), doing, succeeded, failed, cancelled."""

    id: int
    name: str
    status: str
    attempts: int
    args: dict[str, Any]
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deferred_at: datetime | None


class JobRunStore:
    """Reads job runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, limit: int = 50) -> Sequence[JobRun]:
        """Newest first."""
        with self._database.read() as connection:
            return [JobRun(**row) for row in connection.execute(HISTORY, {"limit": limit}).mappings()]
