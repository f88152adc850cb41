"""One trace from the HTTP request that publishes an event over Kafka and Postgres to the recommendations it changes."""

from __future__ import annotations

import msgspec

from core import tracing
from tests.collector import Collector, collecting
from tests.serving.world import World, eventually, ingesting

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
USER = "traced-person"
PATH = f"/v1/users/{USER}/recommendations"
STAGES = [
    "history",
    "allowed",
    "sources",
    "merge",
    "filters",
    "rank",
    "diversify",
    "backfill",
    "explore",
    "explain",
    "slate",
]


def walk(world: World) -> tuple[Collector, str]:
    """Publish by HTTP, ingest, recommend, and ingest what was shown, as one caller. What the collector has of it, and the key
    that was used."""
    settings = msgspec.structs.replace(world.settings, require_keys=True)
    key = world.store.keys.create(["events:write", "recs:read"])
    headers = {"traceparent": CALLER, "X-API-Key": key}
    event = {"type": "interaction.view", "data": {"user": USER, "item": "i3", "session": "secret-session"}}
    with (
        collecting() as collector,
        tracing.exporting(collector.address),
        world.served(settings=settings) as client,
        ingesting(world),
    ):
        client.post("/v1/events", json=event, headers=headers).raise_for_status()
        eventually(lambda: len(world.store.history.history(USER, 10).events) == 1, within_s=30)
        answer = client.get(PATH, headers=headers)
        assert answer.json()["fallback"] is None
        eventually(lambda: _kinds(world) == ["impression", "interaction.view"], within_s=30)
    return collector, key


def _kinds(world: World) -> list[str]:
    return sorted(one["type"] for one in world.store.history.export(USER))


def test_one_trace_joins_http_kafka_postgres_and_the_recommendation(full_world: World) -> None:
    collector, key = walk(full_world)
    ours = [one for one in collector.spans if one.trace_id.hex() == TRACE]
    by_name = {one.name: one for one in ours if one.name != "ingest"}
    topic = full_world.settings.topic
    names = {"POST /v1/events", f"publish {topic}", "GET /v1/users/{user_id}/recommendations", "recommend", *STAGES}
    assert names == by_name.keys()
    assert by_name["POST /v1/events"].parent_span_id.hex() == CALLER.split("-")[2]
    assert by_name[f"publish {topic}"].parent_span_id == by_name["POST /v1/events"].span_id
    asked = by_name["GET /v1/users/{user_id}/recommendations"]
    assert asked.parent_span_id.hex() == CALLER.split("-")[2]
    assert by_name["recommend"].parent_span_id == asked.span_id
    stages = sorted((by_name[stage] for stage in STAGES), key=lambda one: one.start_time_unix_nano)
    assert [one.name for one in stages] == STAGES
    assert {one.parent_span_id for one in stages} == {by_name["recommend"].span_id}
    assert asked.start_time_unix_nano <= stages[0].start_time_unix_nano
    assert stages[-1].end_time_unix_nano <= asked.end_time_unix_nano
    # ingested twice in this trace: the event that was published, and the impression of what was recommended for it
    ingested = [one for one in ours if one.name == "ingest"]
    assert {one.parent_span_id for one in ingested} == {by_name[f"publish {topic}"].span_id, asked.span_id}
    transactions = {one.span_id: one for one in collector.spans if one.name == "ingest transaction"}
    for one in ingested:
        (back,) = one.links
        assert one.parent_span_id in {link.span_id for link in transactions[back.span_id].links}
    # and nothing in any of it says who that was, or with which key
    told = repr(collector.spans)
    for private in (USER, key, key.split("_", 2)[2], "secret-session"):
        assert private not in told


def test_a_request_that_fails_is_marked_and_names_no_path(full_world: World) -> None:
    with collecting() as collector, tracing.exporting(collector.address), full_world.served() as client:
        answer = client.get("/v1/users/private-person/none-such")
        assert answer.status_code == 404
        assert client.get("/v1/items/private-item", headers={b"traceparent": b"\xff"}).status_code == 404
    assert "private" not in repr(collector.spans)
    assert {one.parent_span_id for one in collector.spans if one.name.startswith("GET")} == {b""}
