"""Around every route: its time by route and status, and a request id that the answer and the log share."""

from __future__ import annotations

import re
import time
from contextvars import ContextVar
from uuid import uuid4

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from core.telemetry import REQUEST_SECONDS

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def measured(app: ASGIApp) -> ASGIApp:
    """Middleware: observe headwater_request_seconds, and answer with X-Request-Id (the caller's, where it sent one)."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = sent if WELL_FORMED.fullmatch(sent) else uuid4().hex[:16].encode()
        REQUEST_ID.set(request_id.decode())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
                seconds = time.perf_counter() - began
                REQUEST_SECONDS.labels(scope.get("path_template", ""), message["status"]).observe(seconds)
            await send(message)

        await app(scope, receive, sending)

    return middleware
