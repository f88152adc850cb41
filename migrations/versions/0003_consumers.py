"""How far behind each consumer last was, for the console."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

TABLE = """
CREATE TABLE consumers (
    consumer TEXT NOT NULL,
    behind BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT consumers_pkey PRIMARY KEY (consumer)
)
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLE)
