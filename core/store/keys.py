"""API keys: shown once when created, stored only as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import sqlalchemy as sa

from core.errors import InvalidRequest, NotFound
from core.store.database import Database
from core.tables import api_keys

SCOPES = ("events", "read", "admin")  # publish events; ask for recommendations and content; everything


class KeyStore:
    """Creates, checks and revokes keys. A key's 256 random bits need no slow hash: SHA-256 is enough."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, scopes: Sequence[str], label: str = "") -> str:
        """A new key, returned this once. Raises InvalidRequest for an unknown scope."""
        unknown = set(scopes) - set(SCOPES)
        if unknown or not scopes:
            raise InvalidRequest(
                f"scope must be one or more of {', '.join(SCOPES)}; not {', '.join(sorted(unknown)) or 'nothing'}"
            )
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = f"hw_{key_id}_{secret}"
        with self._database.begin() as connection:
            connection.execute(
                sa.insert(api_keys).values(key_id=key_id, key_hash=_hash(key), scopes=list(scopes), label=label)
            )
        return key

    def scopes(self, key: str) -> frozenset[str] | None:
        """The scopes of a good key; None for an unknown or revoked one."""
        query = sa.select(api_keys.c.scopes).where(api_keys.c.key_hash == _hash(key), api_keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else frozenset(found)

    def revoke(self, key_id: str) -> None:
        """Revoke by the id inside the key (hw_<id>_...). Raises NotFound."""
        query = (
            sa.update(api_keys)
            .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=sa.func.now())
        )
        with self._database.begin() as connection:
            if connection.execute(query).rowcount != 1:
                raise NotFound(f"no active key has the id {key_id!r}")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
