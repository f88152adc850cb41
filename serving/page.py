"""Rendering one page: autoescaped, and with a policy that lets nothing but our own style sheet in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response

YEAR_S = 31_557_600
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(template: str, *, status: int = 200, headers: dict[str, str] | None = None, **context: Any) -> Response[str]:
    """A page from templates/. Every value is escaped."""
    html = _environment.get_template(template).render(context)
    return Response(html, media_type="text/html", status_code=status, headers={**HEADERS, **(headers or {})})


def text_address(item: str, kind: str, locale: str, input_hash: str = "") -> str:
    """Of the page of a text."""
    about = {"item": item, "kind": kind, "locale": locale, **({"input_hash": input_hash} if input_hash else {})}
    return f"/console/text?{urlencode(about)}"


def ago(moment: datetime | None) -> str:
    """ "3 min ago": how long since; "in 3 min" for what is to come; the day where that is years off; a dash for never."""
    if moment is None:
        return "–"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if abs(seconds) > 2 * YEAR_S:
        return f"{moment:%Y-%m-%d}"
    text = span(abs(seconds))
    if text == "0 s":
        return "now"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit."""
    if seconds is None:
        return "–"
    for size, unit in ((YEAR_S, "y"), (86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit in ("min", "y")):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def number(value: float) -> str:
    """With thousands separated, and no more digits than help."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


_environment = Environment(
    loader=PackageLoader("serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters.update(ago=ago, span=span, number=number)
_environment.globals.update(address=text_address)
