"""A TCP proxy that breaks connections the ways networks do: cut, silent, slow, or just around a COMMIT."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress

from sqlalchemy.engine import make_url

LOOK_S = 0.1  # how soon a connection notices what is to be done with it
TRY_S = 1.0


class Proxy:
    """Leads every connection to its listener on to the server at `target`, as long as nothing is broken.

    `silent` while set nothing passes in either direction, and nobody is told; `refusing`: new connections are reset;
    `delay_s` and `bytes_per_s` slow each piece of data down.
    """

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1", patience_s: int | None = None) -> None:
        self.lead_to(target)
        self._listener = socket.create_server((host, 0), backlog=64)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._patience_s = patience_s  # how long data to the client may stay unacknowledged
        self.silent, self.refusing = threading.Event(), threading.Event()
        self.delay_s, self.bytes_per_s = 0.0, 0.0
        self.commits_lost = self.connections_cut = 0
        self._stop_at: str | None = None
        self.stopped = threading.Event()
        self._decided = threading.Event()
        self._deliver = False
        self._generation = 0
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    def before(cls, url: str) -> Proxy:
        """One before the Postgres at `url`."""
        return cls(database_address(url))

    def url(self, url: str) -> str:
        """The database address `url`, by way of this proxy."""
        changed = make_url(url).set(host=self.address[0], port=self.address[1])
        return changed.render_as_string(hide_password=False)

    def lead_to(self, target: tuple[str, int]) -> None:
        """Lead new connections there."""
        self._target = target

    def cut(self) -> None:
        """Reset every connection there is, as a firewall that forgot them does. New ones are made as before."""
        self._generation += 1

    def stop_commit(self, at: str) -> None:
        """Stop the next COMMIT: `at` the "request", before Postgres sees it, or its "answer", after it was executed.

        `stopped` is set when it has come; then `go_on`.
        """
        self.stopped.clear()
        self._decided.clear()
        self._stop_at = at

    def go_on(self, *, deliver: bool) -> None:
        """Deliver what was stopped, or reset the connection instead."""
        self._stop_at, self._deliver = None, deliver
        self._decided.set()

    def lose_next_commit(self) -> None:
        """Let Postgres execute the next COMMIT, and reset the connection instead of answering."""
        self.stop_commit("answer")
        self.go_on(deliver=False)
        self._stop_at = "answer"

    @property
    def losing(self) -> bool:
        """Whether a COMMIT is still waited for."""
        return self._stop_at is not None

    def close(self) -> None:
        """End the proxy and its connections."""
        self._closed.set()
        self.silent.clear()
        self._decided.set()
        self._generation += 1
        self._listener.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                if not select.select([self._listener], [], [], LOOK_S)[0]:
                    continue
                client, _ = self._listener.accept()
            except (OSError, ValueError):  # closed meanwhile
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        generation = self._generation
        try:
            if self.refusing.is_set():
                raise ConnectionRefusedError
            server = socket.create_connection(self._target, timeout=TRY_S)
        except OSError:
            reset(client)
            return
        server.settimeout(None)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._patience_s:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._patience_s * 1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._patience_s)
        try:
            self._pass_on(client, server, generation)
        except OSError:
            generation = -1
        if generation != self._generation:
            self.connections_cut += 1
            reset(client)
            reset(server)
        else:  # in order: what was delivered is to be read
            client.close()
            server.close()

    def _pass_on(self, client: socket.socket, server: socket.socket, generation: int) -> None:
        answering = False  # the answer to a COMMIT is to be stopped
        while generation == self._generation:
            if self.silent.is_set():
                time.sleep(LOOK_S)
                continue
            for source in select.select([client, server], [], [], LOOK_S)[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is client and b"COMMIT\0" in data and self._stop_at == "request":
                    self._wait()
                elif source is client and b"COMMIT\0" in data and self._stop_at == "answer":
                    answering = True
                elif source is server and answering:
                    answering = False
                    self._wait()
                self._slow_down(len(data))
                (server if source is client else client).sendall(data)

    def _wait(self) -> None:
        self._stop_at = None
        self.stopped.set()
        self._decided.wait()
        if not self._deliver:
            self.commits_lost += 1
            raise ConnectionResetError

    def _slow_down(self, size: int) -> None:
        if self.delay_s or self.bytes_per_s:
            time.sleep(self.delay_s + (size / self.bytes_per_s if self.bytes_per_s else 0))


def reset(connection: socket.socket) -> None:
    """Close with a RST: what is under way is thrown away at both ends."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def database_address(url: str) -> tuple[str, int]:
    """Host and port of a database address."""
    parts = make_url(url)
    return parts.host or "127.0.0.1", parts.port or 5432
