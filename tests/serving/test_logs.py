"""What is logged: lines of JSON that carry the request's id, and never a key, a payload or who somebody is."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from core.bus import Bus, Message
from core.errors import ArtifactCorrupt
from core.telemetry import REQUEST_ID, set_up_logs
from serving.service import JobRun, run
from tests.serving.world import World, eventually, ingesting

KEY_MARK, USER, PAYLOAD = "hw_5ec5ec5e_" + "S" * 43, "user-ann-4711", "payload-geheim-4711"
log = logging.getLogger("jobs.test")


class FailingJobs:
    """A schedule whose exceptions quote what they stumbled over."""

    def history(self, limit: int = 50) -> Sequence[JobRun]:
        log.info("asked in a thread")
        try:
            raise KeyError(USER)
        except KeyError as error:
            raise ValueError(f"{PAYLOAD} of {USER} is not a number") from error

    def run_now(self, name: str, **arguments: Any) -> int:
        if name == USER:
            raise ValueError(name)
        raise ArtifactCorrupt("models/als/00001 is damaged")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What goes to stderr, with our own rooms as talkative as they can be."""
    stream, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logs("INFO")
    rooms = [logging.getLogger(name) for name in ("core", "ingest", "serving", "models", "features")]
    for room in rooms:
        room.setLevel(logging.DEBUG)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    for room in rooms:
        room.setLevel(logging.NOTSET)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line, each a JSON document."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_nothing_of_a_key_a_payload_or_a_person_is_logged(full_world: World, logged: io.StringIO) -> None:
    settings = msgspec.structs.replace(full_world.settings, require_keys=True)
    key = full_world.store.keys.create(["admin"], label="test")
    good, event = {"Authorization": f"Bearer {key}"}, {"type": "interaction.view", "data": {"user": USER, "item": "i1"}}
    assert settings.kafka_bootstrap is not None
    with full_world.served(settings=settings, jobs=FailingJobs()) as client, ingesting(full_world):
        client.post("/v1/events", json=event, headers=good).raise_for_status()
        for bad in (b'{"user":"%b",' % USER.encode(), b'{"type":"%b"}' % PAYLOAD.encode(), PAYLOAD.encode()):
            assert client.post("/v1/events", content=bad, headers=good).status_code == 400
            assert client.post("/v1/rank", content=bad, headers=good).status_code == 400
        assert client.post(
            "/v1/recommendations", json={"user": USER, "context": {"a": PAYLOAD}}, headers=good
        ).is_success
        assert client.put(f"/v1/users/{USER}", json={"attributes": {"name": PAYLOAD}}, headers=good).is_success
        assert client.get(f"/v1/users/{USER}/recommendations", headers=good).is_success
        assert client.get(f"/v1/users/{USER}/none-such?q={PAYLOAD}", headers=good).status_code == 404
        assert client.get(f"/v1/items/popular?{PAYLOAD}=1", headers=good).status_code == 400
        assert client.get("/console", headers={"Authorization": f"Basic {KEY_MARK}"}).status_code == 401
        assert client.get("/v1/items/popular", headers={"X-API-Key": KEY_MARK}).status_code == 401
        broken = client.get("/v1/jobs", headers={**good, "X-Request-Id": "broken-1", "Cookie": PAYLOAD})
        assert broken.status_code == 500
        assert broken.json()["detail"].endswith("under request broken-1")
        assert client.post(f"/v1/jobs/{USER}/run", headers=good).status_code == 500
        assert client.post(f"/v1/jobs/{PAYLOAD}/run", headers=good).status_code == 500
        with Bus(settings.kafka_bootstrap, settings.topic) as bus:
            bus.publish([Message(USER.encode(), f'{{"user":"{USER}","x":"{PAYLOAD}'.encode())])
        eventually(lambda: sum(full_world.store.dead_letters.counts().values()) == 1, within_s=30)
        eventually(lambda: client.get(f"/v1/users/{USER}", headers=good).json().get("interactions") == 1, within_s=30)
        assert client.delete(f"/v1/users/{USER}", headers=good).is_success
        eventually(lambda: client.get(f"/v1/users/{USER}", headers=good).status_code == 404, within_s=30)
    text = logged.getvalue()
    for private in (
        key,
        key.split("_", 2)[2],
        KEY_MARK,
        "S" * 43,
        USER,
        "ann-4711",
        PAYLOAD,
        "geheim",
        settings.secret,
    ):
        assert private not in text
    assert {"at", "level", "log", "message"} <= set.intersection(*(set(line) for line in lines(logged)))
    # but what is needed to find the fault is there
    (bug,) = [line for line in lines(logged) if "GET /v1/jobs failed" in line["message"]]
    assert bug["request"] == "broken-1"
    assert bug["level"] == "error"
    assert bug["error"].startswith("ValueError\n")
    assert "in history" in bug["error"]
    assert "KeyError" in bug["error"]
    assert any("models/als/00001 is damaged" in line["message"] for line in lines(logged)), (
        "our own errors keep their words"
    )
    (asked,) = [line for line in lines(logged) if line["message"] == "asked in a thread"]
    assert asked["request"] == "broken-1"
    answered = [line for line in lines(logged) if line["log"] == "serving.measure"]
    assert {line["level"] for line in answered if "answered 500" in line["message"]} == {"warning"}
    assert {line["level"] for line in answered if "answered 200" in line["message"]} == {"debug"}, "off by default"
    assert any("GET /v1/users/{user_id}/recommendations answered 200 in" in line["message"] for line in answered)


def test_calls_in_threads_know_their_own_request(logged: io.StringIO) -> None:
    pool = ThreadPoolExecutor(2)

    async def request(name: str) -> None:
        REQUEST_ID.set(name)
        await run(pool, log.info, "in a thread")

    async def both() -> None:
        await asyncio.gather(*(asyncio.create_task(request(name)) for name in ("first", "second")))

    asyncio.run(both())
    pool.shutdown()
    assert sorted(line["request"] for line in lines(logged)) == ["first", "second"]
    assert REQUEST_ID.get() == ""
