"""Requests for texts, what models were asked already, and the tokens of each hour. The scheduled job `generate` is gone."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

REQUESTS = """
CREATE TABLE content_requests (
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    locale TEXT NOT NULL,
    why TEXT NOT NULL,
    facts_at TIMESTAMPTZ NOT NULL,
    priority DOUBLE PRECISION NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL,
    requested_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    not_before TIMESTAMPTZ DEFAULT now() NOT NULL,
    published_to TEXT DEFAULT '' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT content_requests_pkey PRIMARY KEY (item_id, kind, locale),
    CONSTRAINT content_requests_why_check CHECK (why IN ('missing', 'changed', 'model', 'asked')),
    CONSTRAINT content_requests_state_check CHECK (state IN ('waiting', 'published', 'dead'))
)
"""
TRIES = """
CREATE TABLE content_tries (
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    locale TEXT NOT NULL,
    facts_hash TEXT NOT NULL,
    prompt_hash TEXT NOT NULL,
    model TEXT NOT NULL,
    tried_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    CONSTRAINT content_tries_pkey PRIMARY KEY (item_id, kind, locale)
)
"""
TOKENS = """
CREATE TABLE content_tokens (
    hour TIMESTAMPTZ NOT NULL,
    tokens BIGINT NOT NULL,
    CONSTRAINT content_tokens_pkey PRIMARY KEY (hour)
)
"""
INDEX = "CREATE INDEX content_requests_state_priority_ix ON content_requests (state, priority)"
# Nobody runs it any more.
LEFT_OVER = "UPDATE procrastinate_jobs SET status = 'cancelled' WHERE task_name = 'generate' AND status = 'todo'"


def upgrade() -> None:
    for statement in (REQUESTS, TRIES, TOKENS, INDEX, LEFT_OVER):
        op.get_bind().exec_driver_sql(statement)
