"""The scheduler's own tables: what procrastinate 3.10 ships. A newer procrastinate needs a revision of its own."""

from __future__ import annotations

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # "%" is the driver's placeholder sign only when parameters are given; none are.
    op.get_bind().connection.cursor().execute(SchemaManager.get_schema())
