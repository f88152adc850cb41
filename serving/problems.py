"""Every error as problem+json (RFC 9457), mapped here and nowhere else. A stack trace is never the message."""

from __future__ import annotations

import logging
import re
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from core.errors import HeadwaterError, InvalidEvent, Unauthorized
from core.telemetry import REQUEST_ID
from serving.page import page
from serving.shapes import Problem

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
AT = re.compile(r"- at `\$\.data(.+)`")  # where in a body msgspec found fault
TITLES = {
    400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed",
    409: "Conflict", 413: "Too large", 429: "Too many requests", 500: "Internal error", 503: "Unavailable",
}  # fmt: skip


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """For OpenAPI: the problems that a route answers with, besides those that every route may."""
    return {
        status: ResponseSpec(Problem, description=TITLES[status], media_type=PROBLEM_JSON, generate_examples=False)
        for status in sorted({400, 401, 403, 429, 500, 503, *statuses})
    }


class InvalidEvents(InvalidEvent):
    """Some of a list of events are refused; `errors` names each by index."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        first = errors[0]
        super().__init__(first["reason"], f"event {first['index']}: {first['detail']}")
        self.errors = errors


def on_headwater_error(request: Request[Any, Any, Any], error: HeadwaterError) -> Response[Any]:
    """One of ours: it knows its status, and what to do."""
    if error.http_status >= 500 and not error.retriable:
        log.error("%s %s: %s", request.method, request.scope.get("path_template"), error)
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Basic" if _is_page(request) else "Bearer"
    return _answer(request, error.http_status, str(error), error.code, error.retriable, list(error.errors), headers)


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """One of the web framework's: no such route, a value outside its range, a body that is not JSON."""
    detail, errors = error.detail, []
    if isinstance(error, ValidationException):
        errors = [_field(request, error, one) for one in error.extra or [] if isinstance(one, dict)]
        detail = "; ".join(f"{one['name']}: {one['detail']}" for one in errors) or detail
    elif error.status_code == 400:
        detail = f"the body is not what this route takes: {detail}"
    elif error.status_code == 404:
        detail = f"there is nothing at {request.url.path}; /openapi.json lists every route"
    elif error.status_code == 413:
        detail = "the body is larger than this route takes"
    code = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(
        error.status_code, "http"
    )
    return _answer(
        request, error.status_code, detail, code, error.status_code == 503, errors, dict(error.headers or {})
    )


def on_deep_nesting(request: Request[Any, Any, Any], error: RecursionError) -> Response[Any]:
    """A body nested so deep that it cannot be read."""
    return _answer(request, 400, "the body is nested too deeply", "invalid_request", False, [], {})


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What nobody expected: the log has it all, the caller only a reference to it."""
    request_id = REQUEST_ID.get()
    where = request.scope.get("path_template")  # not the path: it may name a user
    log.error("request %s: %s %s failed", request_id, request.method, where, exc_info=error)
    detail = (
        f"something went wrong here that is not the caller's fault; the server's log has it under request {request_id}"
    )
    return _answer(request, 500, detail, "internal", False, [], {})


def _field(request: Request[Any, Any, Any], error: ValidationException, one: dict[str, Any]) -> dict[str, Any]:
    """A refused value with its name, what is wrong with it, and the range it must be in."""
    name, detail = str(one.get("key") or "body"), str(one.get("message", "is not accepted"))
    if one.get("source") == "body":
        where = AT.search(str(error.__cause__))
        name = f"body{where.group(1) if where else ''}"
        detail = "a JSON body is required" if detail == "'data'" else detail
    if "matching regex" in detail:
        detail = "may not be empty or hold a NUL character"
    given = request.query_params.get(name) if one.get("source") == "query" else None
    said = f"{given[:80]!r} is not accepted; " if given is not None else ""
    return {"name": name, "detail": f"{said}{_range(request, name) or detail}"}


def _range(request: Request[Any, Any, Any], name: str) -> str:
    """ "give a whole number from 1 to 100", where the parameter has such a range."""
    field = request.scope["route_handler"].parsed_fn_signature.parameters.get(name)
    low, high = (
        getattr(field and field.kwarg_definition, "ge", None),
        getattr(field and field.kwarg_definition, "le", None),
    )
    if field is None or low is None or high is None:
        return ""
    return f"give {'a whole number' if field.annotation is int else 'a number'} from {low} to {high}"


def _answer(
    request: Request[Any, Any, Any], status: int, detail: str, code: str, retriable: bool,
    errors: list[dict[str, Any]], headers: dict[str, str],
) -> Response[Any]:  # fmt: skip
    title = TITLES.get(status, "Error")
    if _is_page(request):
        return page("problem.html", status=status, headers=headers, title=title, detail=detail)
    problem = Problem("about:blank", title, status, detail, code, retriable, errors)
    return Response(problem, status_code=status, media_type=PROBLEM_JSON, headers=headers)


def _is_page(request: Request[Any, Any, Any]) -> bool:
    return request.url.path.startswith("/console")
