"""The server around the application: its port, its start, its end."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from core.errors import ConfigurationError
from serving.server import listen, url_of
from tests.serving.world import World, eventually

ROOT = Path(__file__).parents[2]
SERVE = """
import os
from core.settings import load_settings
from core.store import open_store
from serving.server import serve
settings = load_settings(os.environ)
with open_store(settings) as store:
    serve(settings, store, ready=lambda url: print(url, flush=True))
"""


def test_a_busy_port_is_said_plainly() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* in use .*HEADWATER_PORT"):
            listen("127.0.0.1", port)


def test_port_zero_takes_a_free_one_and_addresses_can_be_visited() -> None:
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")):
        with listen(host, 0) as listener:
            port = listener.getsockname()[1]
            assert port > 0
            assert url_of(listener) == f"http://{shown}:{port}"
    with pytest.raises(ConfigurationError, match="cannot be used"):
        listen("203.0.113.1", 0)


@contextmanager
def _server(world: World, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A server in a process of its own: it, its address and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=ROOT, env={**os.environ, **world.settings.environ(), **environ},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        yield process, address, int(address.rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_sigterm_lets_the_request_in_flight_finish(full_world: World) -> None:
    with _server(full_world) as (process, address, port):
        assert httpx.get(f"{address}/readyz").status_code == 200
        body = b'{"limit": 3}'
        with socket.create_connection(("127.0.0.1", port)) as slow:
            head = f"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            slow.sendall(head.encode() + body[:4])
            eventually(lambda: httpx.get(f"{address}/healthz").status_code == 200)
            process.send_signal(signal.SIGTERM)
            eventually(lambda: _refuses(port), within_s=10)
            slow.sendall(body[4:])
            slow.settimeout(20)
            answer = b""
            while more := slow.recv(65536):
                answer += more
        assert answer.startswith(b"HTTP/1.1 200")
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)


@pytest.mark.slow_fault
def test_sigterm_under_keep_alive_load_resets_nobody_and_ends_in_time(full_world: World) -> None:
    with _server(full_world, HEADWATER_DRAIN_GRACE_S="2") as (process, address, port):
        with ThreadPoolExecutor(10) as pool:
            loads = [pool.submit(_keep_asking, port, pause_s) for pause_s in (0, 0, 0, 0, 0.05, 0.5, 1.0, 3.0)]
            visits = pool.submit(_visit_while_ready, address)
            time.sleep(2)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            answered = [load.result() for load in loads]
            assert visits.result() >= 1
            assert process.wait(timeout=30) in (0, -signal.SIGTERM)
            assert time.monotonic() - began < 30
        assert all(answered)


def _keep_asking(port: int, pause_s: float) -> int:
    """Ask on one connection until told that an answer is its last; returns how many came. Raises for one that did not."""
    request = b"GET /v1/users/u1/recommendations HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for answers in itertools.count(1):
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                more = connection.recv(65536)
                assert more, "the connection was closed instead of an answer"
                answer += more
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
            while len(body) < length:
                more = connection.recv(65536)
                assert more, "the connection was closed within an answer"
                body += more
            if b"connection: close" in head:
                assert connection.recv(1) == b""
                return answers
            time.sleep(pause_s)
    raise AssertionError


def _visit_while_ready(address: str) -> int:
    """What a load balancer does: new connections, as long as the server says that it is ready. Returns how many visits."""
    for visits in itertools.count():
        ready = httpx.get(f"{address}/readyz", timeout=20).status_code
        assert httpx.get(f"{address}/v1/items/popular", timeout=20).status_code == 200
        if ready == 503:
            return visits
    raise AssertionError


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False
