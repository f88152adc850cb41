"""API keys: shown once when created, stored only as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.errors import InvalidRequest, NotFound
from core.store.database import Database
from core.tables import api_keys

# Publish events, and so change items and users; ask for recommendations, items, users; read texts; write texts; everything.
SCOPES = ("events:write", "recs:read", "content:read", "content:write", "admin")
COLUMNS = [column for column in api_keys.c if column.name != "key_hash"]


@dataclass(frozen=True)
class Key:
    """A key without its secret. Of `requests_per_s` and `burst`, None stands for the server's default, 0 for no limit."""

    key_id: str
    scopes: frozenset[str]
    label: str
    requests_per_s: float | None
    burst: int | None
    created_at: datetime
    revoked_at: datetime | None


class KeyStore:
    """Creates, finds and revokes keys. A key's 256 random bits need no slow hash: SHA-256 is enough."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, scopes: Sequence[str], label: str = "", *, requests_per_s: float | None = None, burst: int | None = None
    ) -> str:
        """A new key, returned this once. Raises InvalidRequest for an unknown scope, or a limit that is none."""
        unknown = set(scopes) - set(SCOPES)
        if unknown or not scopes:
            raise InvalidRequest(
                f"scope must be one or more of {', '.join(SCOPES)}; not {', '.join(sorted(unknown)) or 'nothing'}"
            )
        if (requests_per_s is not None and not 0 <= requests_per_s < 1e6) or (burst is not None and burst < 1):
            raise InvalidRequest("a limit is 0 (none) to 1,000,000 requests/s, with a burst of 1 or more")
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = f"hw_{key_id}_{secret}"
        values = {
            "key_id": key_id, "key_hash": _hash(key), "scopes": sorted(set(scopes)), "label": label,
            "requests_per_s": requests_per_s, "burst": burst,
        }  # fmt: skip
        with self._database.begin() as connection:
            connection.execute(sa.insert(api_keys).values(values))
        return key

    def find(self, key: str) -> Key | None:
        """What a good key may do; None for an unknown or revoked one."""
        query = sa.select(*COLUMNS).where(api_keys.c.key_hash == _hash(key), api_keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _key(row)

    def list(self) -> list[Key]:
        """Every key ever made, revoked ones too, oldest first."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(*COLUMNS).order_by(api_keys.c.created_at, api_keys.c.key_id))
            return [_key(row) for row in found]

    def revoke(self, key_id: str) -> None:
        """Revoke by the id inside the key (hw_<id>_...). Raises NotFound."""
        query = (
            sa.update(api_keys)
            .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=sa.func.now())
        )
        with self._database.begin() as connection:
            if connection.execute(query).rowcount != 1:
                raise NotFound(f"no active key has the id {key_id!r}: `headwater keys list` shows them")


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    values = dict(row._mapping)
    return Key(**{**values, "scopes": frozenset(values["scopes"])})


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
