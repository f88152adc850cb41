"""Around every route: its time by route and status, a request id that the answer and the log share, and a span."""

from __future__ import annotations

import logging
import random
import re
import time
from functools import cache
from typing import TYPE_CHECKING

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from core import tracing
from core.telemetry import REQUEST_ID, REQUEST_SECONDS

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from prometheus_client import Histogram

log = logging.getLogger(__name__)

REQUEST_STATE = "request_id"  # where a request carries the id that it was given
WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def measured(app: ASGIApp) -> ASGIApp:
    """Middleware: observe headwater_request_seconds, and answer with X-Request-Id (the caller's, where it sent one).

    A span of the request is within the trace that its `traceparent` names. Neither it nor the log names the path, which may
    name a user: the route stands for it. A request that comes by here twice is measured from the first time on.
    """

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if REQUEST_STATE in scope["state"]:
            await app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = parent = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and WELL_FORMED.fullmatch(value):
                request_id = value
            elif name == b"traceparent":
                parent = value
        request_id = request_id or b"%016x" % random.getrandbits(64)  # unlikely to repeat is enough
        scope["state"][REQUEST_STATE] = request_id.decode()
        REQUEST_ID.set(scope["state"][REQUEST_STATE])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
                _observe(scope, message["status"], time.perf_counter() - began)
            await send(message)

        if not tracing.on():
            await app(scope, receive, sending)
            return
        with tracing.span(str(scope.get("method")), "SERVER", parent=parent.decode("latin-1")) as span:
            try:
                await app(scope, receive, sending)
            finally:
                if span is not None:
                    _describe(span, scope, request_id.decode())

    return middleware


def _observe(scope: Scope, status: int, seconds: float) -> None:
    route = scope.get("path_template", "")
    _seconds(route, status).observe(seconds)
    scope["state"]["status"] = status
    if status >= 500 and status != 503:  # a 503 says what is away, and what is away says so itself, once
        log.warning("%s %s answered %d in %.1f ms", scope.get("method"), route, status, 1000 * seconds)
    elif log.isEnabledFor(logging.DEBUG):
        log.debug("%s %s answered %d in %.1f ms", scope.get("method"), route, status, 1000 * seconds)


def _describe(span: Span, scope: Scope, request_id: str) -> None:
    """Name a request's span by its route, known once it is over."""
    method, route = str(scope.get("method")), str(scope.get("path_template", ""))
    status = scope["state"].get("status", 0)
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method, "http.route": route, "http.response.status_code": status,
            "headwater.request_id": request_id,
        }
    )  # fmt: skip
    if status >= 500:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR))


@cache
def _seconds(route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(route, status)
