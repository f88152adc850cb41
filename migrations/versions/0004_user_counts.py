"""How many interactions each user has, counted with the rows."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

# Half-filled pages leave room for the updates of a batch: no index entry is written for them.
TABLE = """
CREATE TABLE user_counts (
    user_id TEXT NOT NULL,
    events BIGINT NOT NULL,
    CONSTRAINT user_counts_pkey PRIMARY KEY (user_id)
) WITH (fillfactor = 50)
"""

# Nothing may be appended between counting and going live; readers go on.
COUNT = """
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO user_counts
SELECT user_id, count(*) FROM events WHERE starts_with(type, 'interaction.') GROUP BY user_id
"""


def upgrade() -> None:
    for statement in (TABLE, COUNT):
        op.get_bind().exec_driver_sql(statement)
