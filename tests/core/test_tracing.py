"""Traces: off they cost nothing and change nothing; on they join what W3C's traceparent names, and hold nobody's data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaConsumer

from core import tracing
from core.bus import Bus, Message, ensure_topic
from core.events import Interaction, decode
from core.settings import Settings, load_settings
from core.tracing import WELL_FORMED
from tests.collector import Collector, collecting

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = (
    b'{"specversion":"1.0","id":"e1","source":"/shop","type":"interaction.view","time":"2026-01-01T00:00:00Z",'
    b'"data":{"user":"u","item":"i"}}'
)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as started:
        yield started


def test_without_a_collector_nothing_is_traced() -> None:
    with tracing.exporting(None), tracing.span("anything") as span:
        assert span is None
        assert not tracing.on()
        assert tracing.traceparent() is None
        assert tracing.headers() == ()
        assert tracing.current() is None


def test_spans_reach_the_collector_under_the_trace_that_the_caller_named(collector: Collector) -> None:
    with tracing.exporting(collector.address, service_namespace="shop"), tracing.span("outer", parent=CALLER):
        given = tracing.traceparent()
        with tracing.span("inner", links=[CALLER, "nonsense"]):
            pass
    assert not tracing.on()
    outer, inner = collector.span("outer"), collector.span("inner")
    assert outer.trace_id.hex() == inner.trace_id.hex() == CALLER.split("-")[1]
    assert outer.parent_span_id.hex() == CALLER.split("-")[2]
    assert inner.parent_span_id == outer.span_id
    assert given == f"00-{outer.trace_id.hex()}-{outer.span_id.hex()}-01"
    assert [link.span_id.hex() for link in inner.links] == [CALLER.split("-")[2]]


def test_an_error_is_told_by_its_type_alone(collector: Collector) -> None:
    def fail() -> None:
        with tracing.span("failing"):
            raise ValueError("anna@example.org is not a number")

    with tracing.exporting(collector.address), pytest.raises(ValueError, match="anna"):
        fail()
    assert collector.span("failing").status.message == "ValueError"
    assert "anna" not in repr(collector.spans)


def test_what_the_caller_does_not_want_traced_is_not(collector: Collector) -> None:
    with tracing.exporting(collector.address), tracing.span("unwanted", parent=CALLER[:-2] + "00"):
        assert tracing.traceparent() == tracing.traceparent()
        assert tracing.current() is None
    with tracing.exporting(collector.address, share=0.0):
        with tracing.span("begun here"):
            pass
        with tracing.span("begun there", parent=CALLER):
            pass
    assert [one.name for one in collector.spans] == ["begun there"]


@pytest.mark.parametrize(
    "wrong",
    [
        "", "x", CALLER[:-1], "ff" + CALLER[2:], CALLER.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
    ],
)  # fmt: skip
def test_a_malformed_context_begins_a_trace_of_its_own(collector: Collector, wrong: str) -> None:
    assert not WELL_FORMED.fullmatch(wrong)
    with tracing.exporting(collector.address), tracing.span("alone", parent=wrong):
        pass
    assert collector.span("alone").parent_span_id == b""
    assert collector.span("alone").trace_id.hex() != CALLER.split("-")[1]


def test_a_collector_that_is_away_disturbs_nobody() -> None:
    with tracing.exporting("http://127.0.0.1:1"), tracing.span("lost") as span:
        assert span is not None


def test_a_traced_event_is_the_same_event_and_the_context_travels_beside_it(
    collector: Collector, kafka_bootstrap: str, topic: str
) -> None:
    ensure_topic(kafka_bootstrap, topic, 1)
    with Bus(kafka_bootstrap, topic) as bus:
        bus.publish([Message(b"u", EVENT)])
        with tracing.exporting(collector.address), tracing.span("caller"):
            bus.publish([Message(b"u", EVENT), Message(b"u", EVENT, ((tracing.TRACEPARENT, CALLER.encode()),))])
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest", metrics_enabled=False
    )
    try:
        plain, traced, older = (next(consumer) for _ in range(3))
    finally:
        consumer.close()
    assert plain.value == traced.value == older.value == EVENT
    assert list(plain.headers) == []
    ((name, value),) = traced.headers
    published = collector.span(f"publish {topic}")
    assert name == "traceparent"
    assert value.decode()[:53] == f"00-{published.trace_id.hex()}-{published.span_id.hex()}-"
    assert [value.decode() for _, value in older.headers] == [CALLER], "a message that brings a context keeps it"


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (EVENT, [("traceparent", CALLER.encode()), ("tracestate", None)]),
        (EVENT.replace(b'"data"', b'"traceparent":"' + CALLER.encode() + b'","data"'), []),
        (
            b'{"user":"u","item":"i"}',
            [("ce_id", b"e1"), ("ce_source", b"/shop"), ("ce_type", b"interaction.view"), ("ce_specversion", b"1.0"),
             ("ce_time", b"2026-01-01T00:00:00Z"), ("ce_traceparent", CALLER.encode())],
        ),
    ],
    ids=["header", "extension attribute", "binary mode"],
)  # fmt: skip
def test_an_event_with_a_context_decodes_to_the_event_without(
    raw: bytes, headers: list[tuple[str, bytes | None]]
) -> None:
    with_context, without = decode(raw, headers), decode(EVENT)
    assert with_context == without
    assert with_context.identity == without.identity
    assert with_context.body == Interaction(user="u", item="i", kind="view")


def test_the_standard_variable_names_the_collector_too() -> None:
    assert load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"}).traces_endpoint == "http://otel:4318"
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318", "HEADWATER_TRACES_ENDPOINT": "http://ours:4318"}
    assert load_settings(both).traces_endpoint == "http://ours:4318"
    assert load_settings({}) == Settings()
