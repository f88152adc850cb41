"""Who may call what: API keys with scopes and limits, checked before every route that does not say it is public."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import math
import re
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from core.errors import DatabaseUnavailable, Forbidden, InvalidRequest, RateLimited, Unauthorized
from core.store.keys import Key, KeyStore
from core.telemetry import RATE_LIMITED

PUBLIC = "public"
CHECK_AGAIN_S = 3.0  # how long a revoked key may still work
TRUSTED_S = 300.0  # how long a key that was good is believed while Postgres is away
BUDGET_S = 1.0  # a slower Postgres counts as away
KEPT_KEYS = 10_000
KEY = re.compile(r"hw_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")
KEY_STATE = "key"  # where a request carries the key that it was let in with
FAILED_STATE = "failed"  # and why it could not be answered without the framework, which is to say so
NOBODY = "anyone (no key asked)"
PROVIDED = frozenset({"service", "data", "who", "request"})  # what routes are given that is no parameter of the request


class Default(NamedTuple):
    """The limit of a key that has none of its own. 0 requests/s: no limit."""

    requests_per_s: float
    burst: int


class Access:
    """Answers what a key may do now. Used from the event loop alone; limits are of this process."""

    def __init__(self, keys: KeyStore, required: bool, default: Default) -> None:
        self.required = required
        self._keys, self._default = keys, default
        self._checked: OrderedDict[bytes, tuple[float, Key | None]] = OrderedDict()
        self._checking: dict[bytes, asyncio.Future[Key | None]] = {}
        self._due: dict[str, float] = {}  # by key id: when its bucket would be full again

    async def admit(self, given: str, scope: str | None, pool: ThreadPoolExecutor) -> Key:
        """The key, when it opens `scope` (None: only admin does) and its limit allows one more request.

        Raises Unauthorized, Forbidden, RateLimited, and DatabaseUnavailable when what the key is cannot be known.
        """
        digest = hashlib.sha256(given.encode()).digest()
        at, key = self._checked.get(digest, (-TRUSTED_S, None))
        if time.monotonic() - at >= CHECK_AGAIN_S:
            key = await self._find(given, digest, pool) if KEY.fullmatch(given) else None
        if key is None:
            raise Unauthorized("this API key is unknown or was revoked: `headwater keys create` makes one")
        if "admin" not in key.scopes and scope not in key.scopes:
            raise Forbidden(
                f"this API key lacks the scope {scope or 'admin'!r}; it has {', '.join(sorted(key.scopes))}"
            )
        wait_s = self._take(key)
        if wait_s > 0:
            RATE_LIMITED.labels(key.key_id).inc()
            raise RateLimited(f"API key {key.key_id} sends more than its limit of requests", math.ceil(wait_s))
        return key

    async def _find(self, given: str, digest: bytes, pool: ThreadPoolExecutor) -> Key | None:
        """Ask Postgres, once for all requests that wait for the same; while it is away, believe the last answer a while."""
        checking = self._checking.get(digest)
        if checking is None:
            checking = asyncio.get_running_loop().run_in_executor(pool, self._keys.find, given)
            self._checking[digest] = checking
            checking.add_done_callback(lambda done: self._answered(digest, done))
        try:
            key = await asyncio.wait_for(asyncio.shield(checking), BUDGET_S)
        except (DatabaseUnavailable, TimeoutError) as error:
            at, known = self._checked.get(digest, (-TRUSTED_S, None))
            if known is None or time.monotonic() - at > TRUSTED_S:
                raise DatabaseUnavailable(f"the key cannot be checked: {error or 'Postgres took too long'}") from error
            return known
        self._checked[digest] = (time.monotonic(), key)
        self._checked.move_to_end(digest)
        if len(self._checked) > KEPT_KEYS:
            self._checked.popitem(last=False)
        return key

    def _answered(self, digest: bytes, done: asyncio.Future[Key | None]) -> None:
        del self._checking[digest]
        if not done.cancelled():
            done.exception()  # looked at, also where nobody waited for it any longer

    def _take(self, key: Key) -> float:
        """Take one request out of the key's bucket; else how many seconds until there is one again.

        The generic cell rate algorithm (ITU-T I.371): one number a key, the time at which its bucket would be full. The
        library `limits` 5.8 takes 6 to 9 us for the same, which is more than all else that is done here.
        """
        rate = self._default.requests_per_s if key.requests_per_s is None else key.requests_per_s
        if not rate:
            return 0.0
        # A key that has a rate of its own and no burst may save up two seconds of it.
        burst = key.burst or (self._default.burst if key.requests_per_s is None else max(1, round(2 * rate)))
        now = time.monotonic()
        due = max(now, self._due.get(key.key_id, 0.0))
        wait_s = due - now - (burst - 1) / rate
        if wait_s > 0:
            return wait_s
        self._due[key.key_id] = due + 1 / rate
        return 0.0


async def guard(connection: ASGIConnection, handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Deny unless the route is public, no keys are required, or the key has the route's scope and is within its limit.

    Raises Unauthorized, Forbidden, RateLimited, and InvalidRequest for a query parameter that the route does not have, or that
    is there twice; and what a request failed with before it came here.
    """
    failed: Exception | None = connection.scope["state"].get(FAILED_STATE)
    if failed is not None:
        raise failed
    scope = handler.opt.get("scope")
    if scope != PUBLIC:
        service = connection.app.state.service
        if service.access.required:
            await let_in(connection.scope, service.access, scope, service.threads.database.threads)
        else:
            _refuse_other_sites(connection)
    if connection.scope.get("query_string"):
        _refuse_unknown_parameters(connection, handler)


async def let_in(scope: Scope, access: Access, wanted: str | None, pool: ThreadPoolExecutor) -> None:
    """Check the request's key, and keep it with the request. Raises as Access.admit does."""
    scope["state"][KEY_STATE] = await access.admit(_key(scope), wanted, pool)


def who_asks(request: Request[Any, Any, Any]) -> str:
    """Who is at work, for what is kept of it: the name of the request's key, its id where it has none; never the key."""
    key: Key | None = request.scope["state"].get(KEY_STATE)
    if key is None:
        return NOBODY
    return key.label.strip() or f"key {key.key_id}"


def _key(scope: Scope) -> str:
    own = ""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, given = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and given:
                return given.strip()
            if scheme.lower() == "basic":  # how a browser brings it to the console: the key as password, any name
                try:
                    return base64.b64decode(given, validate=True).decode().partition(":")[2]
                except (binascii.Error, UnicodeDecodeError):
                    raise Unauthorized("the Authorization header is malformed") from None
        elif name == b"x-api-key":
            own = value.decode("latin-1")
    if own:
        return own
    raise Unauthorized("an API key is required: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")


def _refuse_other_sites(connection: ASGIConnection) -> None:  # type: ignore[type-arg]
    """Without keys, a page of another site open in a browser on this machine must not change anything here."""
    if connection.scope["method"] not in ("GET", "HEAD") and connection.headers.get("sec-fetch-site") == "cross-site":  # type: ignore[typeddict-item]
        raise Forbidden("a page of another site may not change anything here")


def _refuse_unknown_parameters(connection: ASGIConnection, handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """What would be ignored, a parameter or all but one value of it, is refused: the caller believes that it filters."""
    if not connection.scope["path"].startswith("/v1/"):
        return
    known = _parameters(handler)
    given: set[str] = set()
    for name, _ in connection.query_params.multi_items():
        if name not in known:
            names = ", ".join(sorted(known - connection.path_params.keys())) or "none"
            raise InvalidRequest(f"{name[:80]}: this route has no such parameter; it takes {names}")
        if name in given:
            raise InvalidRequest(f"{name}: given more than once, and only one value can count; give it once")
        given.add(name)


@lru_cache(maxsize=256)
def _parameters(handler: BaseRouteHandler) -> frozenset[str]:
    return frozenset(handler.parsed_fn_signature.parameters) - PROVIDED
