"""Scopes by what they open, and a rate limit of each key."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

# Null: the server's default.
COLUMNS = "ALTER TABLE api_keys ADD COLUMN requests_per_s DOUBLE PRECISION, ADD COLUMN burst INTEGER"

# What a key could do it still can.
RENAME = """
UPDATE api_keys SET scopes = array(
    SELECT DISTINCT new FROM unnest(scopes) AS old, LATERAL unnest(CASE old
        WHEN 'events' THEN ARRAY['events:write']
        WHEN 'read' THEN ARRAY['recs:read', 'content:read']
        ELSE ARRAY[old] END) AS new
    ORDER BY new)
"""


def upgrade() -> None:
    for statement in (COLUMNS, RENAME):
        op.get_bind().exec_driver_sql(statement)
