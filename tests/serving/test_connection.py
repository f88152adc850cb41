"""Connections: slow, endless and idle clients hold nothing, and what is sent without waiting is answered in turn."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import msgspec
import pytest

from serving import connection
from serving.admission import Gate
from serving.app import create_app
from serving.server import serving
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually

PATH = "/v1/users/u1/recommendations"


def figure(client: httpx.Client, metric: str, kind: str) -> float:
    """A figure of /metrics, which answers whatever else is full."""
    found = re.search(rf'^{metric}\{{kind="{kind}"\}} (\S+)$', client.get("/metrics").text, re.MULTILINE)
    assert found is not None, metric
    return float(found[1])


@contextmanager
def full(gate: Gate) -> Iterator[None]:
    """No place to run or to wait."""
    entered = 0
    while gate.enter():
        entered += 1
    gate._pace_s = gate.wait_s
    yield
    gate._pace_s = 0.0
    for _ in range(entered):
        gate.leave()


@contextmanager
def dialled(client: httpx.Client) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", client.base_url.port or 80), timeout=20)) as one:
        yield one


def said(one: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    parts = []
    while part := one.recv(65536):
        parts.append(part)
    return b"".join(parts)


SLOW = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{"


@pytest.mark.parametrize(
    ("sent", "status"), [(b"", b""), (b"GET / HTTP/1.1\r\nX-Slow: ", b"HTTP/1.1 408"), (SLOW, b"HTTP/1.1 408")]
)
def test_a_request_that_does_not_come_is_not_waited_for_without_end(
    full_world: World, monkeypatch: pytest.MonkeyPatch, sent: bytes, status: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    monkeypatch.setattr(connection, "REQUEST_S", 0.2)
    with full_world.served() as client, dialled(client) as slow:
        slow.sendall(sent)
        assert said(slow).startswith(status)
        assert client.get(PATH).status_code == 200


def test_slow_bodies_hold_no_place(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, max_running=1, max_waiting=1)
    with full_world.served(settings=settings) as client:
        slow = [socket.create_connection(("127.0.0.1", client.base_url.port or 80), timeout=20) for _ in range(10)]
        try:
            for one in slow:
                one.sendall(SLOW)
            assert client.get(PATH).status_code == 200
            assert figure(client, "headwater_requests_running", "answers") == 0
            slow[0].sendall(b'"limit": 5}')
            assert slow[0].recv(65536).startswith(b"HTTP/1.1 200")
        finally:
            for one in slow:
                one.close()


def test_headers_without_end_are_cut_off(full_world: World) -> None:
    with full_world.served() as client, dialled(client) as endless:
        endless.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(OSError, match=r"reset|pipe|abort"):  # it says 431 and stops listening
            endless.sendall(b"X-More: " + b"x" * 10_000_000 + b"\r\n")
        assert client.get("/healthz").status_code == 200


def test_a_body_longer_than_what_is_waited_for_is_the_routes_to_refuse(client: httpx.Client) -> None:
    body = (
        b'{"type": "interaction.view", "data": {"user": "u1", "item": "i1", "context": {"x": "'
        + b"y" * 3_000_000
        + b'"}}}'
    )
    assert "too_large" in problem(client.post("/v1/events", content=body), 400)["detail"]
    problem(client.post("/v1/recommendations", content=b"x" * 3_000_000), 413)
    assert client.get(PATH).status_code == 200


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(client: httpx.Client) -> None:
    with dialled(client) as asking:
        head = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 12\r\n"
        asking.sendall(head + b"Connection: close\r\n\r\n")
        assert asking.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        asking.sendall(b'{"limit": 5}')
        assert said(asking).startswith(b"HTTP/1.1 200")


def test_connections_beyond_the_limit_are_refused_and_the_others_stay(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, max_connections=3)
    with full_world.served(settings=settings) as client:
        assert client.get("/healthz").status_code == 200  # one, and it stays
        with dialled(client), dialled(client), dialled(client) as fourth:
            assert said(fourth).startswith(b"HTTP/1.1 503")
            assert client.get(PATH).status_code == 200
        eventually(lambda: httpx.get(f"{client.base_url}/healthz").status_code == 200)


def test_requests_sent_without_waiting_are_answered_in_turn(client: httpx.Client) -> None:
    with dialled(client) as pipelining:
        one = f"GET {PATH}?limit=2 HTTP/1.1\r\nHost: x\r\n\r\n"
        last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        pipelining.sendall((one * 5 + last).encode())
        answered = said(pipelining)
    assert re.findall(rb"HTTP/1.1 (\d+)", answered) == [b"200"] * 6
    assert answered.endswith(b'{"status":"ok"}')


def test_an_idle_connection_ends_also_after_refusals_which_leave_its_timer_alone(full_world: World) -> None:
    app = create_app(full_world.settings, full_world.store, full_world.registry)
    gate = app.state.service.door.gates["answers"]
    asked = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with serving(app) as address, full(gate), dialled(httpx.Client(base_url=address)) as refused:
        refused.sendall(asked)
        assert refused.recv(65536).startswith(b"HTTP/1.1 503")
        began = time.monotonic()
        time.sleep(2)
        refused.sendall(asked)
        assert refused.recv(65536).startswith(b"HTTP/1.1 503")
        assert refused.recv(65536) == b""
        assert 6.5 < time.monotonic() - began < 20  # uvicorn's five seconds, from the last answer
