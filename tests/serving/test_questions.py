"""A question that was read before: the same answer to the byte, the same refusals, and a slate of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest

from serving import questions
from serving.pipeline import Pipeline
from serving.query import Ask
from serving.questions import Questions
from serving.surfaces import Surfaces
from tests.serving.test_access import bearer
from tests.serving.test_connection import dialled, said
from tests.serving.world import World, eventually, ingesting

PATH = "/v1/users/{}/recommendations"
OWN = re.compile(rb'"slate":"([^"]+)"|"took_ms":[0-9.]+')  # what differs between two answers to the same
ASKED = (
    "", "limit=3", "category=even&limit=30", "filter=price%20%3D%3D%20null", "explain=false", "exclude_seen=false",
    "surface=front&seen_kinds=view,cart", "diversity=0.5", "locale=de", "exploration=0",
)  # fmt: skip


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the framework has read, each time."""
    found: list[str] = []
    ask = Surfaces.ask

    def noted(surfaces, surface, wishes, **about):
        found.append(surface)
        return ask(surfaces, surface, wishes, **about)

    monkeypatch.setattr(Surfaces, "ask", noted)
    return found


def told(answer: httpx.Response) -> tuple[object, ...]:
    """Status, headers and bytes, but for what is each answer's own."""
    own = ("date", "x-request-id", "content-length")
    return (
        answer.status_code,
        [one for one in answer.headers.raw if one[0].decode() not in own],
        OWN.sub(b"", answer.content),
    )


@pytest.mark.parametrize("user", ["u1", "nobody", "Jos%C3%A9%20%22x%22"])
def test_a_question_is_read_once_and_answered_the_same_to_the_byte(
    full_world: World, read: list[str], user: str
) -> None:
    with full_world.served() as client:
        for query in ASKED:
            path = f"{PATH.format(user)}?{query}"
            before = len(read)
            first, again, other = client.get(path), client.get(path), client.get(f"{PATH.format('u2')}?{query}")
            assert len(read) == before + 1  # u2's as well was known by then
            assert first.status_code == 200, first.text
            assert told(again) == told(first)
            assert int(again.headers["content-length"]) == len(again.content)
            assert other.json()["user"] == "u2"
            slates = {answer.json()["slate"] for answer in (first, again, other)}
            assert len(slates) == 3


@pytest.mark.parametrize("query", ["limit=0", "limit=3&limit=3", "colour=red", "filter=%28", "limit=3"])
@pytest.mark.parametrize("user", ["u1", "x" * 300, "a%00b"])
def test_what_is_refused_is_refused_however_often_it_is_asked(full_world: World, user: str, query: str) -> None:
    with full_world.served() as client:
        client.get(f"{PATH.format('u1')}?limit=3").raise_for_status()
        path = f"{PATH.format(user)}?{query}"
        first, again = client.get(path), client.get(path)
        assert told(first) == told(again)
        assert (first.status_code == 200) == (user == "u1" and query == "limit=3")


@pytest.fixture
def locked(full_world: World) -> Iterator[httpx.Client]:
    settings = msgspec.structs.replace(full_world.settings, require_keys=True)
    with full_world.served(settings=settings) as client:
        yield client


def test_a_known_question_needs_its_key_and_scope_and_limit_all_the_same(
    locked: httpx.Client, full_world: World
) -> None:
    keys = full_world.store.keys
    good, other = keys.create(["recs:read"]), keys.create(["events:write"])
    slow = keys.create(["recs:read"], requests_per_s=0.01, burst=2)
    known, unknown = PATH.format("u1"), f"{PATH.format('u1')}?limit=7"
    locked.get(known, headers=bearer(good)).raise_for_status()
    for headers in ({}, bearer("hw_00000000_" + "A" * 43), bearer(other), {"Authorization": "Basic x"}):
        refused = locked.get(known, headers=headers)
        assert refused.status_code in (401, 403)
        assert told(refused) == told(locked.get(unknown, headers=headers))
    statuses = [locked.get(known, headers=bearer(slow)).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]


def test_an_error_of_a_known_question_is_measured_once_and_has_the_callers_id(
    full_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, calls = Pipeline.again, count(1)

    def broken(*given: Any) -> object:
        if next(calls) == 1:  # the framework is to tell of it, not to try again
            raise ValueError("broken")
        return again(*given)

    def failed(client: httpx.Client) -> float:
        counted = 'headwater_request_seconds_count{route="/v1/users/{user_id}/recommendations",status="500"}'
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(counted)]
        return float(lines[0].split()[-1]) if lines else 0.0

    with full_world.served() as client:
        known, before = PATH.format("u1"), failed(client)
        client.get(known).raise_for_status()
        monkeypatch.setattr(Pipeline, "again", broken)
        answer = client.get(known, headers={"X-Request-Id": "mine"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert answer.headers.get_list("x-request-id") == ["mine"]
        assert failed(client) == before + 1


def test_a_known_question_from_a_malformed_host_is_refused_and_its_answer_ends_as_the_connection_wants(
    full_world: World,
) -> None:
    with full_world.served() as client:
        known = PATH.format("u1")
        whole = [client.get(known, headers={"Host": "x"}) for _ in range(2)][1]
        assert client.get(known, headers={"Host": "a b/"}).status_code == 400
        last = client.get(known, headers={"Host": "x", "Connection": "close"})
        assert last.headers["connection"] == "close"
        assert OWN.sub(b"", last.content) == OWN.sub(b"", whole.content)
        with dialled(client) as pipelining:
            one, end = f"GET {known} HTTP/1.1\r\nHost: x\r\n", "Connection: close\r\n\r\n"
            pipelining.sendall(f"{one}\r\n{one}\r\n{one}{end}".encode())
            answers = said(pipelining)
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == answers.count(b'"slate":"') == 3


def test_every_answer_is_logged_with_what_it_showed(full_world: World) -> None:
    with full_world.served() as client, ingesting(full_world):
        shown = [client.get(f"{PATH.format('u1')}?limit=4").json() for _ in range(3)]

        def logged() -> dict[str, list[str]]:
            rows = full_world.store.history.export("u1")
            return {row["slate"]: row["data"]["items"] for row in rows if row["type"] == "impression"}

        wanted = {one["slate"]: [item["item"] for item in one["items"]] for one in shown}
        eventually(lambda: logged() == wanted, within_s=30)
        assert len(wanted) == 3


def test_what_is_known_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "KEPT_QUESTIONS", 3)
    known = Questions()
    for limit in range(1, 6):
        known.learn(b"limit=%d" % limit, Ask("u1", limit))
    known.learn(b"filter=" + b"x" * questions.LONGEST_BYTES, Ask("u1", 9))
    found = [known.known(b"limit=%d" % limit, "u2") for limit in range(1, 6)]
    assert found == [None, None, Ask("u2", 3), Ask("u2", 4), Ask("u2", 5)]
    assert known.known(b"filter=" + b"x" * questions.LONGEST_BYTES, "u1") is None
    assert known.known(b"limit=5", "") is known.known(b"limit=5", "x" * 257) is known.known(b"limit=5", "a\0") is None
