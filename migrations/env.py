"""Alembic's environment: runs on the connection that migrations/run.py hands it, whose search_path is the namespace."""

from __future__ import annotations

from alembic import context

from core.tables import metadata

OWNED_ELSEWHERE = ("procrastinate_", "events_")  # the scheduler's tables, and partitions of events


def ours(name: str | None, type_: str, _parents: object) -> bool:
    """Whether autogenerate may compare this object."""
    return type_ != "table" or not (name or "").startswith(OWNED_ELSEWHERE)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_name=ours,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
