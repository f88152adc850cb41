"""Marks of the copies of the catalogue that servers keep: a database that has one holds all that the copy does."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

MARKS = """
CREATE TABLE catalogue_marks (
    mark UUID NOT NULL,
    marked_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT catalogue_marks_pkey PRIMARY KEY (mark)
)
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(MARKS)
