"""uvicorn around the application: one socket, a clear word when its port is taken, a graceful end."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from litestar import Litestar

from core.errors import ConfigurationError
from core.registry import open_registry
from core.settings import Settings
from core.store import Store
from models.text.generator import TextGenerator
from serving.admission import Door
from serving.app import create_app
from serving.connection import Connection
from serving.service import Jobs

log = logging.getLogger(__name__)

DRAIN_S = 15  # from a SIGTERM to the end of the last connection
SWEEP_TICKS = 10  # uvicorn's ticks of 0.1 s
WAITING_CONNECTIONS = 2048
# So many looks at the young until all that was made since the start is looked through for garbage, which holds up every answer
# for 0.1 s: what is remembered of users is none, and a version that is replaced is freed without that.
RARELY = 1_000
SWITCH_S = (
    0.001  # a thread that computes lets the event loop in after so long: by default it waits five times that, each turn
)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigurationError when the port is taken or may not be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            what = "is in use by another program"
        elif error.errno == errno.EACCES:
            what = "may not be used by this user"
        else:
            what = f"cannot be used ({error.strerror or error})"
        raise ConfigurationError(
            f"port {port} on {host} {what}: set HEADWATER_PORT to another one, or to 0 for a free one"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address for people: http://host:port."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def serve(
    settings: Settings, store: Store, jobs: Jobs | None = None, *, generator: TextGenerator | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Serve settings.host:port until SIGTERM or SIGINT, then let requests in flight finish; after SIGTERM, drain.

    `ready` gets the address once requests are answered. Raises ConfigurationError when the port cannot be had.
    """
    with listen(settings.host, settings.port) as listener:
        gc.collect()
        app = create_app(settings, store, open_registry(settings, store), jobs=jobs, generator=generator)
        address = url_of(listener)
        log.info("serving %s/console; %s", address, settings.keys_note)

        def begun() -> None:
            gc.freeze()  # the catalogue stays: looking through a million items for garbage would hold up every answer
            gc.set_threshold(usual[0], usual[1], RARELY)
            gc.enable()
            if ready is not None:
                ready(address)

        sys.setswitchinterval(SWITCH_S)
        usual = gc.get_threshold()
        gc.disable()  # until the catalogue is there: it would be looked through again and again while it grows
        try:
            _Server(app, begun).run(sockets=[listener])
        finally:
            gc.set_threshold(*usual)
            gc.enable()


@contextmanager
def serving(app: Litestar, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a thread while the block runs; gives the address. Raises ConfigurationError when the port cannot be had."""
    with listen(host, port) as listener:
        started = threading.Event()
        server = _Server(app, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
        thread.start()
        while thread.is_alive() and not started.wait(0.1):
            continue
        if not started.is_set():
            raise ConfigurationError("the server ended before it answered; its log says why")
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join(timeout=DRAIN_S + 10)


class _Server(uvicorn.Server):
    def __init__(self, app: Litestar, ready: Callable[[], None] | None) -> None:
        self._door: Door = app.state.service.door
        self._grace_s: float = app.state.service.settings.drain_grace_s
        super().__init__(_config(app, self._door))
        self._ready = ready
        self._terminated = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains; Ctrl-C does not wait for connections that are idle."""
        self._terminated = self._terminated or sig == signal.SIGTERM
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Now and then, end the connections that are too slow."""
        if counter % SWEEP_TICKS == 0:
            self._sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain where that was asked for, then end what is left."""
        self._door.draining = True
        if self._terminated:
            until = time.monotonic() + DRAIN_S
            await self._drain(until)
            self.config.timeout_graceful_shutdown = max(1, round(until - time.monotonic()))
        await super().shutdown(sockets)

    async def _drain(self, until: float) -> None:
        """Answer everyone, each connection for the last time, and take no new ones after the grace.

        A connection on which nothing is under way is not closed at once: its client may be sending. It is told with its next
        answer, or ends, as always, when it has been idle for as long as connections may be.
        """
        for connection in self._connections:
            connection.last_answer()
        await self._wait(min(until, time.monotonic() + self._grace_s), lambda: False)
        for server in self.servers:
            server.close()
        idle = min(until, time.monotonic() + self.config.timeout_keep_alive + 0.5)
        await self._wait(idle, lambda: not self._connections)
        await self._wait(until, lambda: not any(one.busy for one in self._connections))

    async def _wait(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(0.05)
            self._sweep()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in self._connections:
            connection.sweep(now)

    @property
    def _connections(self) -> list[Connection]:
        return list(cast("set[Connection]", self.server_state.connections))


def _config(app: Litestar, door: Door) -> uvicorn.Config:
    protocol = cast("type[asyncio.Protocol]", partial(Connection, door))
    return uvicorn.Config(
        app, loop="uvloop", http=protocol, ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=DRAIN_S, backlog=WAITING_CONNECTIONS,
    )  # fmt: skip
