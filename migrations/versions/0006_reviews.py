"""Every change of a text, with who and when; texts about more than their item; what style a text was asked for in."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

COLUMNS = """
ALTER TABLE contents ADD COLUMN style TEXT NOT NULL DEFAULT '', ADD COLUMN input_hash TEXT NOT NULL DEFAULT '',
    ADD COLUMN version INTEGER NOT NULL DEFAULT 1,
    DROP CONSTRAINT contents_pkey, ADD CONSTRAINT contents_pkey PRIMARY KEY (item_id, kind, locale, input_hash)
"""
CHANGES = """
CREATE TABLE content_changes (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    locale TEXT NOT NULL,
    input_hash TEXT DEFAULT '' NOT NULL,
    version INTEGER NOT NULL,
    changed_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    status_before TEXT,
    status TEXT NOT NULL,
    text_before TEXT,
    text TEXT NOT NULL,
    origin TEXT NOT NULL,
    model TEXT DEFAULT '' NOT NULL,
    note TEXT DEFAULT '' NOT NULL,
    overruled JSONB DEFAULT '[]' NOT NULL,
    CONSTRAINT content_changes_pkey PRIMARY KEY (number),
    CONSTRAINT content_changes_action_check CHECK (action IN ('write', 'approve', 'edit', 'reject'))
)
"""
INDEXES = (
    "CREATE INDEX content_changes_text_ix ON content_changes (item_id, kind, locale, input_hash, number)",
    "CREATE INDEX contents_written_at_ix ON contents (written_at)",
    "CREATE INDEX contents_status_written_at_ix ON contents (status, written_at)",
)

# The texts that are there already: who wrote them is known, what they were before is not.
FIRST = """
INSERT INTO content_changes (item_id, kind, locale, version, changed_at, who, action, status, text, origin, model, note)
SELECT item_id, kind, locale, 1, written_at, 'headwater', 'write', status, text, origin, model, 'before changes were kept'
FROM contents ORDER BY written_at, item_id, kind, locale
"""


def upgrade() -> None:
    for statement in (COLUMNS, CHANGES, *INDEXES, FIRST):
        op.get_bind().exec_driver_sql(statement)
