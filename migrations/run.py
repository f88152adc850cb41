"""Bring a namespace's schema to the newest revision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from core.store.database import Database


def upgrade(database_url: str, namespace: str, revision: str = "head") -> str:
    """Create the namespace's schema where absent and upgrade it to `revision`. Returns the revision reached.

    Safe to run from several processes at once: an advisory lock lets one work while the others wait.
    Raises DatabaseUnavailable.
    """
    with _config(database_url, namespace) as config:
        command.upgrade(config, revision)
        connection = config.attributes["connection"]
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())


def revisions() -> list[str]:
    """Every revision, oldest first."""
    script = ScriptDirectory(str(Path(__file__).parent))
    return [one.revision for one in reversed(list(script.walk_revisions()))]


@contextmanager
def _config(database_url: str, namespace: str) -> Iterator[Config]:
    database = Database(database_url, namespace, pool=1, statement_timeout_s=0, lock_timeout_s=0)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    try:
        with database.begin() as connection:
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtext('headwater:migrate:' || :name))"), {"name": namespace}
            )
            connection.execute(sa.schema.CreateSchema(namespace, if_not_exists=True))
            config.attributes["connection"] = connection
            yield config
    finally:
        database.close()
