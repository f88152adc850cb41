"""What else a text is about, as ids; which transaction wrote it, for whoever keeps some in memory; texts of an older prompt."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

COLUMNS = """
ALTER TABLE contents ADD COLUMN about JSONB NOT NULL DEFAULT '{}', ADD COLUMN txn BIGINT NOT NULL DEFAULT 0
"""
INDEX = "CREATE INDEX contents_because_ix ON contents (txn) WHERE kind = 'because'"
WHY = """
ALTER TABLE content_requests DROP CONSTRAINT content_requests_why_check,
    ADD CONSTRAINT content_requests_why_check CHECK (why IN ('missing', 'changed', 'prompt', 'model', 'asked'))
"""


def upgrade() -> None:
    for statement in (COLUMNS, INDEX, WHY):
        op.get_bind().exec_driver_sql(statement)
