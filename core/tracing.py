"""Traces: one line from an HTTP request over Kafka and Postgres to the recommendations, in OpenTelemetry's terms.

Off until `exporting` is entered, and then next to free. Contexts travel as W3C Trace Context (`traceparent`), in HTTP headers,
Kafka headers, or the attribute that CloudEvents' distributed tracing extension gives an event. Spans hold names, counts and
versions, never ids of people, payloads or messages of exceptions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded when traces are wanted: half a second, and megabytes
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer
    from opentelemetry.util.types import AttributeValue

TRACEPARENT = "traceparent"
WELL_FORMED = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
EXPORT_TIMEOUT_S = 5

_tracer: Tracer | None = None
_NOTHING: AbstractContextManager[None] = nullcontext()


@contextmanager
def exporting(endpoint: str | None, share: float = 1.0, **resource: str) -> Iterator[None]:
    """While the block runs, send spans to the OTLP/HTTP collector at `endpoint` (its base, as http://collector:4318).

    Of the traces that begin here `share` is kept; those that began elsewhere are kept as they say. Without an endpoint
    nothing happens. What waits is sent at the end, for as long as EXPORT_TIMEOUT_S.
    """
    global _tracer
    if endpoint is None:
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    url = f"{endpoint.rstrip('/').removesuffix('/v1/traces')}/v1/traces"
    provider = TracerProvider(
        ParentBased(TraceIdRatioBased(share)), Resource.create({"service.name": "headwater", **resource}),
        shutdown_on_exit=False,
    )  # fmt: skip
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=EXPORT_TIMEOUT_S)))
    _tracer = provider.get_tracer("headwater")
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


def on() -> bool:
    """Whether anyone collects traces."""
    return _tracer is not None


def span(
    name: str,
    kind: str = "INTERNAL",
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, AttributeValue] | None = None,
) -> AbstractContextManager[Span | None]:
    """Time the block as a span, the current one within it. None where nobody collects.

    `kind` is one of INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER. `parent` is a traceparent, by default the current span;
    "" begins a trace. `links` are traceparents as well.
    """
    return _NOTHING if _tracer is None else _spanned(_tracer, name, kind, parent, links, attributes)


def spans(
    parent: Span, name: str, parts: Sequence[tuple[str, float, Mapping[str, AttributeValue]]], began: float
) -> None:
    """Record what is over already as a child of `parent`, and its parts as children of that one.

    `parts` follow one another: name, end, attributes; `began` and the ends are times of time.perf_counter.
    """
    from opentelemetry import trace

    if _tracer is None or not parent.is_recording():
        return
    offset = time.time() - time.perf_counter()
    over = _tracer.start_span(name, trace.set_span_in_context(parent), start_time=_ns(offset + began))
    inside = trace.set_span_in_context(over)
    for part, end, attributes in parts:
        _tracer.start_span(part, inside, attributes=attributes, start_time=_ns(offset + began)).end(_ns(offset + end))
        began = end
    over.end(_ns(offset + began))


def current() -> Span | None:
    """The span that the caller works in, if it is recorded."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    found = get_current_span()
    return found if found.is_recording() else None


def traceparent(of: Span | None = None) -> str | None:
    """The context of a span, by default the current one, for whoever does the next step."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    context = (of or get_current_span()).get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def headers() -> tuple[tuple[str, bytes], ...]:
    """The current context as the header of a message that is to be published later; nothing where there is none."""
    context = traceparent()
    return () if context is None else ((TRACEPARENT, context.encode()),)


@contextmanager
def _spanned(
    tracer: Tracer, name: str, kind: str, parent: str | None, links: Iterable[str],
    attributes: Mapping[str, AttributeValue] | None,
) -> Iterator[Span]:  # fmt: skip
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span

    linked = [Link(get_current_span(found).get_span_context()) for one in links if (found := _remote(one)) is not None]
    kinds: SpanKind = SpanKind[kind]
    with tracer.start_as_current_span(
        name, None if parent is None else _remote(parent) or _root(), kinds, attributes, linked, record_exception=False,
        set_status_on_exception=False,
    ) as begun:  # fmt: skip
        try:
            yield begun
        except BaseException as error:
            begun.set_status(Status(StatusCode.ERROR, type(error).__name__))  # not its message: that may name somebody
            raise


def _remote(traceparent: str) -> Context | None:
    """The context that a traceparent names; None for what is none (W3C: it is then ignored)."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    match = WELL_FORMED.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    return set_span_in_context(NonRecordingSpan(SpanContext(trace_id, span_id, True, TraceFlags(flags))), _root())


def _root() -> Context:
    from opentelemetry.context import Context

    return Context()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
