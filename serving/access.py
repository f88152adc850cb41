"""Who may call what: API keys with scopes, checked before every route that does not say it is public."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from core.errors import DatabaseUnavailable, Forbidden, InvalidRequest, Unauthorized
from core.store.keys import KeyStore

PUBLIC = "public"
CHECK_AGAIN_S = 3.0  # how long a revoked key may still work
TRUSTED_S = 300.0  # how long a key that was good is believed while Postgres is away
BUDGET_S = 1.0  # a slower Postgres counts as away
KEPT_KEYS = 10_000


class Access:
    """Answers which scopes a key has. Used from the event loop alone."""

    def __init__(self, keys: KeyStore, required: bool) -> None:
        self.required = required
        self._keys = keys
        self._checked: OrderedDict[bytes, tuple[float, frozenset[str] | None]] = OrderedDict()

    async def scopes(self, key: str, pool: ThreadPoolExecutor) -> frozenset[str] | None:
        """The scopes of a good key, None for another. Raises DatabaseUnavailable when that cannot be known."""
        digest = _hash(key)
        at, scopes = self._checked.get(digest, (-TRUSTED_S, None))
        age_s = time.monotonic() - at
        if age_s < CHECK_AGAIN_S:
            return scopes
        try:
            checking = asyncio.get_running_loop().run_in_executor(pool, self._keys.scopes, key)
            scopes = await asyncio.wait_for(checking, BUDGET_S)
        except (DatabaseUnavailable, TimeoutError) as error:
            if scopes is None or age_s > TRUSTED_S:
                raise DatabaseUnavailable(f"the key cannot be checked: {error or 'Postgres took too long'}") from error
            return scopes
        self._checked[digest] = (time.monotonic(), scopes)
        self._checked.move_to_end(digest)
        if len(self._checked) > KEPT_KEYS:
            self._checked.popitem(last=False)
        return scopes


async def guard(connection: ASGIConnection, handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Deny unless the route is public, no keys are required, or the key has the route's scope.

    Raises Unauthorized, Forbidden, and InvalidRequest for a query parameter that the route does not have.
    """
    scope = handler.opt.get("scope")
    service = connection.app.state.service
    if scope != PUBLIC and not service.access.required:
        _refuse_other_sites(connection)
    elif scope != PUBLIC:
        scopes = await service.access.scopes(_key(connection), service.threads.database)
        if scopes is None:
            raise Unauthorized("this API key is unknown or was revoked: `headwater keys create` makes one")
        if "admin" not in scopes and scope not in scopes:
            raise Forbidden(f"this API key lacks the scope {scope or 'admin'!r}; it has {', '.join(sorted(scopes))}")
    _refuse_unknown_parameters(connection, handler)


def _key(connection: ASGIConnection) -> str:  # type: ignore[type-arg]
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given:
        return given.strip()
    if scheme.lower() == "basic":  # how a browser brings it to the console: the key as password, any name
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthorized("the Authorization header is malformed") from None
    if key := connection.headers.get("x-api-key"):
        return key
    raise Unauthorized("an API key is required: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")


def _refuse_other_sites(connection: ASGIConnection) -> None:  # type: ignore[type-arg]
    """Without keys, a page of another site open in a browser on this machine must not change anything here."""
    if connection.scope["method"] not in ("GET", "HEAD") and connection.headers.get("sec-fetch-site") == "cross-site":  # type: ignore[typeddict-item]
        raise Forbidden("a page of another site may not change anything here")


def _refuse_unknown_parameters(connection: ASGIConnection, handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """A parameter that would be ignored is refused: the caller believes that it filters."""
    if not connection.scope.get("query_string") or not connection.scope["path"].startswith("/v1/"):
        return
    known = {
        name: field for name, field in handler.parsed_fn_signature.parameters.items() if name not in ("service", "data")
    }
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        names = ", ".join(sorted(known.keys() - connection.path_params.keys())) or "none"
        raise InvalidRequest(f"{unknown[0][:80]}: this route has no such parameter; it takes {names}")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
