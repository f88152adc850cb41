"""Requests for texts about more than their item; the house's list that a text was checked against; drafts of people."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

ABOUT_MORE = """
ALTER TABLE {table} ADD COLUMN input_hash TEXT NOT NULL DEFAULT '', DROP CONSTRAINT {table}_pkey,
    ADD CONSTRAINT {table}_pkey PRIMARY KEY (item_id, kind, locale, input_hash)
"""
ABOUT = "ALTER TABLE content_requests ADD COLUMN about JSONB NOT NULL DEFAULT '{}'"
BANNED = "ALTER TABLE contents ADD COLUMN banned_hash TEXT NOT NULL DEFAULT ''"
INDEX = "CREATE INDEX content_tries_because_ix ON content_tries (tried_at) WHERE kind = 'because'"
DRAFTS = """
CREATE TABLE content_drafts (
    item_id TEXT NOT NULL, kind TEXT NOT NULL, locale TEXT NOT NULL, input_hash TEXT NOT NULL DEFAULT '', who TEXT NOT NULL,
    text TEXT NOT NULL, about JSONB NOT NULL DEFAULT '{}', saved_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT content_drafts_pkey PRIMARY KEY (item_id, kind, locale, input_hash, who)
)
"""


def upgrade() -> None:
    more = (ABOUT_MORE.format(table=table) for table in ("content_requests", "content_tries"))
    for statement in (*more, ABOUT, BANNED, INDEX, DRAFTS):
        op.get_bind().exec_driver_sql(statement)
