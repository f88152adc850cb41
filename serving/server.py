"""uvicorn around the application: one socket, a clear word when its port is taken, a graceful end."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar

from core.errors import ConfigurationError
from core.registry import open_registry
from core.settings import Settings
from core.store import Store
from models.text.generator import TextGenerator
from serving.app import create_app
from serving.service import Jobs

log = logging.getLogger(__name__)

DRAIN_S = 20  # requests in flight at a SIGTERM get this long
WAITING_CONNECTIONS = 2048


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
    """Serve settings.host:port until SIGTERM or SIGINT, then let requests in flight finish.

    `ready` gets the address once requests are answered. Raises ConfigurationError when the port cannot be had.
    """
    with listen(settings.host, settings.port) as listener:
        app = create_app(settings, store, open_registry(settings, store), jobs=jobs, generator=generator)
        address = url_of(listener)
        log.info("serving %s/console", address)
        _Server(_config(app), (lambda: ready(address)) if ready else None).run(sockets=[listener])


@contextmanager
def serving(app: Litestar, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a thread while the block runs; gives the address. Raises ConfigurationError when the port cannot be had."""
    with listen(host, port) as listener:
        started = threading.Event()
        server = _Server(_config(app), started.set)
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
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready()


def _config(app: Litestar) -> uvicorn.Config:
    return uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=DRAIN_S, backlog=WAITING_CONNECTIONS,
    )  # fmt: skip
