"""The registry's rows: every trained version, and which one of each name is live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.errors import Conflict, NotFound
from core.store.database import Database
from core.tables import model_versions as table


@dataclass(frozen=True)
class ModelVersion:
    """One trained model: what it is, what it came from, how it did. `state`: candidate, live, retired or refused."""

    name: str
    version: int
    state: str
    path: str
    trained_until: datetime | None
    snapshot: str
    code_revision: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    verdict: str
    created_at: datetime
    promoted_at: datetime | None


class VersionStore:
    """Reads and writes the registry's rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, name: str) -> int:
        """The next free version number of a name. Gaps are harmless; a lost race raises when the row is added."""
        with self._database.read() as connection:
            newest = connection.execute(
                sa.select(sa.func.max(table.c.version)).where(table.c.name == name)
            ).scalar_one()
        return int(newest or 0) + 1

    def add(self, version: ModelVersion) -> None:
        """Record a version. Raises Conflict when its number is taken."""
        values = {name: getattr(version, name) for name in ModelVersion.__dataclass_fields__}
        try:
            with self._database.begin() as connection:
                connection.execute(sa.insert(table).values(values))
        except sa.exc.IntegrityError as error:
            raise Conflict(f"{version.name} v{version.version} exists already: another trainer was faster") from error

    def versions(self, name: str | None = None, limit: int = 100) -> list[ModelVersion]:
        """Newest first."""
        query = sa.select(table).order_by(table.c.created_at.desc(), table.c.version.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query if name is None else query.where(table.c.name == name))
            return [ModelVersion(**row) for row in rows.mappings()]

    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises NotFound."""
        with self._database.read() as connection:
            query = sa.select(table).where(table.c.name == name, table.c.version == version)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"model {name!r} has no version {version}")
        return ModelVersion(**row)

    def live(self) -> dict[str, ModelVersion]:
        """The live version of each name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).where(table.c.state == "live"))
            return {row["name"]: ModelVersion(**row) for row in rows.mappings()}

    def promote(self, name: str, version: int, verdict: str) -> None:
        """Make a version live and retire the one before, in one transaction. Promoting the live one is a no-op.

        Raises NotFound.
        """
        one = sa.and_(table.c.name == name, table.c.version == version)
        with self._database.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('promote:' || :name))"), {"name": name})
            state = connection.execute(sa.select(table.c.state).where(one)).scalar_one_or_none()
            if state is None:
                raise NotFound(f"model {name!r} has no version {version}")
            if state != "live":
                connection.execute(
                    sa.update(table).where(table.c.name == name, table.c.state == "live").values(state="retired")
                )
                connection.execute(
                    sa.update(table).where(one).values(state="live", verdict=verdict, promoted_at=sa.func.now())
                )

    def refuse(self, name: str, version: int, verdict: str) -> None:
        """Record why a version may not go live."""
        with self._database.begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.name == name, table.c.version == version)
                .values(state="refused", verdict=verdict)
            )

    def before_live(self, name: str) -> int:
        """The version that was live before the live one and was trained apart from it. Raises Conflict when there is none.

        Versions that only brought one up to date (metrics.update.base names it) count as the same: see jobs/update.py.
        """
        family = sa.func.coalesce(table.c.metrics["update"]["base"].as_integer(), table.c.version)
        live = sa.select(family).where(table.c.name == name, table.c.state == "live").scalar_subquery()
        query = (
            sa.select(table.c.version)
            .where(table.c.name == name, table.c.state == "retired", table.c.promoted_at.is_not(None))
            .where(sa.or_(live.is_(None), family != live))
            .order_by(table.c.promoted_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
        if found is None:
            raise Conflict(f"model {name!r} has no earlier live version to roll back to")
        return int(found)

    def forget(self, name: str, version: int) -> bool:
        """Remove a version's row, unless it is live; returns whether it is gone."""
        one = sa.and_(table.c.name == name, table.c.version == version, table.c.state != "live")
        with self._database.begin() as connection:
            return connection.execute(sa.delete(table).where(one)).rowcount > 0
