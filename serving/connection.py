"""One connection to a client: bounded in time and size, refused cheaply when the server is full, closed with a word.

On uvicorn's protocol, which parses HTTP/1.1. A request of a limited kind (serving/admission.py) begins only once all of it has
come, so that a slow client holds nothing but its own connection.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from core.telemetry import CONNECTIONS_REFUSED
from serving.admission import Door, Gate, kind_of
from serving.shapes import Problem

HEAD_BYTES = 65_536  # of a request line and headers together
HEAD_S = 10.0  # for a first request's headers, from the connection's beginning, or a later one's, from its first byte
REQUEST_S = 60.0  # for a whole request, its body included
UNREAD_S = 60.0  # for a client to take its answer
WHOLE = "headwater.whole"  # where the start of an answer to a GET has its body, at servers that name this extension
EXTENSIONS: dict[str, dict[str, Any]] = {WHOLE: {}}
HELD_BYTES = 1_000_000  # of a body that is waited for here; of a longer one the route takes the rest, or refuses


def _problem(status: int, title: str, detail: str, code: str, *, close: bool) -> bytes:
    body = msgspec.json.encode(Problem("about:blank", title, status, detail, code, status == 503))
    head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
    retry = "retry-after: 1\r\n" if status == 503 else ""
    return f"{head}{retry}{'connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode() + body


_BUSY = "more requests than this server can answer; try again in a second, or add servers"
OVERLOADED = _problem(503, "Service Unavailable", _BUSY, "overloaded", close=False)
OVERLOADED_LAST = _problem(503, "Service Unavailable", _BUSY, "overloaded", close=True)
TOO_MANY = _problem(
    503, "Service Unavailable", "this server has as many connections as it may have", "overloaded", close=True
)
HEAD_TOO_LARGE = _problem(
    431, "Request Header Fields Too Large", f"a request's headers may have {HEAD_BYTES} bytes", "too_large", close=True
)
TOO_SLOW = _problem(408, "Request Timeout", "the request did not come in time", "too_slow", close=True)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. `door` is the server's."""

    def __init__(self, door: Door, **given: Any) -> None:
        super().__init__(**given)
        self._door = door
        self._since = time.monotonic()  # when what is waited for began: a request, or the taking of an answer
        self._head_bytes = 0  # of a request whose headers are not complete yet
        self._reading: str | None = "head"  # "head", "body", or None while nothing of a request is waited for
        self._refusing: bytes | None = None  # what came after a request that is about to be refused unread
        self._refused_s = float("-inf")  # when the last one was, by the loop's clock
        self._held: tuple[RequestResponseCycle, Any, Gate] | None = None  # waits for the rest of its body

    def connection_made(self, transport: Any) -> None:
        """Refuse at once what is one too many."""
        super().connection_made(transport)
        if len(self.connections) > self._door.max_connections:
            CONNECTIONS_REFUSED.inc()
            transport.write(TOO_MANY)
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse, unless the headers are without end."""
        if self.transport.is_closing():
            return
        if self._refusing is not None:
            self._refusing += data
            return
        if self._refused_unread(data):
            return
        super().data_received(data)
        if self._reading == "head":
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._end(HEAD_TOO_LARGE)

    def _refused_unread(self, data: bytes) -> bool:
        """Whether this is a whole request for a list, nothing else is under way, and the server is full: then it is not even
        parsed, for under an overload most of the work would be refusing.
        """
        gate = self._door.gates["answers"]
        if not gate.full or self._door.draining or self._reading == "body":
            return False
        begun = self._reading == "head" and self._head_bytes > 0
        if begun or (self.cycle is not None and not self.cycle.response_complete):
            return False
        line, gap, rest = data.partition(b" HTTP/1.1\r\n")
        whole = gap and rest.find(b"\r\n\r\n") == len(rest) - 4 and b"lose" not in rest  # Connection: close
        if not whole or not line.startswith(b"GET /") or b"\n" in line:
            return False
        if kind_of("GET", line[4:].partition(b"?")[0].decode("latin-1")) != "answers":
            return False
        self._refusing = b""
        self._refused_s = self._door.refusals["answers"].send(self._refuse_unread, self._refused_s, self.loop)
        return True

    def _refuse_unread(self) -> None:
        if self._refusing is None or self.transport.is_closing():
            return
        came, self._refusing = self._refusing, None
        self.transport.write(OVERLOADED_LAST if self._door.draining else OVERLOADED)
        if self._door.draining:
            self.transport.close()
            return
        self._since = time.monotonic()
        if self.timeout_keep_alive_task is None:
            self._expire_after(self.timeout_keep_alive)
        if came:
            self.data_received(came)
        elif self._reading == "head":
            self._reading = None  # a first request has come

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle. Refusals leave the timer as it is, which is cheaper than another one each time."""
        idle_s = time.monotonic() - self._since
        if self._refusing is not None:
            self._expire_after(self.timeout_keep_alive)
        elif idle_s < self.timeout_keep_alive:
            self._expire_after(self.timeout_keep_alive - idle_s)
        else:
            super().timeout_keep_alive_handler()

    def _expire_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._reading, self._since, self._head_bytes = "head", time.monotonic(), 0

    def on_headers_complete(self) -> None:
        """A request is known; its body may still come."""
        self._reading = "body"
        super().on_headers_complete()
        if self._door.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """All of it has come: now it may begin."""
        self._reading, self._since = None, time.monotonic()
        super().on_message_complete()
        if self._held is not None:
            cycle, app, gate = self._held
            self._held = None
            self._admit(cycle, app, gate)

    def on_body(self, body: bytes) -> None:
        """Keep what is held here to itself; all else is uvicorn's."""
        if self._held is None:
            super().on_body(body)
            return
        cycle, app, gate = self._held
        cycle.body += body
        if len(cycle.body) > HELD_BYTES:
            self._held = None
            self._admit(cycle, app, gate)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        kind = kind_of(cycle.scope["method"], cycle.scope["path"])
        if kind is None:
            super()._start_asgi_task(cycle, app)
            return
        gate = self._door.gates[kind]
        if not cycle.more_body:
            self._admit(cycle, app, gate)
            return
        self._held = (cycle, app, gate)
        if self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False

    def _admit(self, cycle: RequestResponseCycle, app: Any, gate: Gate) -> None:
        if gate.enter():
            self._run(cycle, app, gate)
            return
        one = gate.wait(lambda: self._run(cycle, app, gate))
        if one is None:
            refusals = self._door.refusals[gate.kind]
            self._refused_s = refusals.send(lambda: self._refuse(cycle), self._refused_s, self.loop)
            return

        def late() -> None:
            if not one.left:
                gate.give_up(one)
                gate.refused(1, new=False)
                self._refuse(cycle)

        self.loop.call_later(gate.wait_s, late)

    def _run(self, cycle: RequestResponseCycle, app: Any, gate: Gate) -> bool:
        """Begin a request that has been let in; False when its caller is gone."""
        if cycle.disconnected:
            return False

        async def sending(message: Any) -> None:
            if WHOLE in message:
                await self._send_whole(cycle, message)
            else:
                await cycle.send(message)

        async def admitted(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = EXTENSIONS
            try:
                await app(scope, receive, sending)
            finally:
                gate.leave()

        super()._start_asgi_task(cycle, admitted)
        return True

    async def _send_whole(self, cycle: RequestResponseCycle, message: Any) -> None:
        """Write a start that has its whole body with it in one piece. Its headers are the server's own words, so that nobody
        need look for line breaks in them."""
        body = message.pop(WHOLE)
        if cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive or message["status"] != 200:
            await cycle.send(message)
            await cycle.send({"type": "http.response.body", "body": body, "more_body": False})
            return
        lines = [b"%s: %s\r\n" % header for header in (*cycle.default_headers, *message["headers"])]
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(b"".join((b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()

    def _refuse(self, cycle: RequestResponseCycle) -> None:
        """Answer for the application that there is no place."""
        if cycle.disconnected or self.transport.is_closing():
            return
        last = OVERLOADED_LAST if not cycle.keep_alive or self._door.draining else OVERLOADED
        self.transport.write(last.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if cycle.scope["method"] == "HEAD" else last)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if last is OVERLOADED_LAST:
            self.transport.close()
        cycle.on_response()

    def sweep(self, now: float) -> None:
        """Called now and then: end what has been waited for too long."""
        if self.transport.is_closing() or (self._reading is None and self._unread):
            if self._unread and now - self._since > UNREAD_S:
                self.transport.abort()
        elif self._reading is not None and now - self._since > (HEAD_S if self._reading == "head" else REQUEST_S):
            CONNECTIONS_REFUSED.inc()
            idle = self._reading == "head" and self._head_bytes == 0
            self._end(b"" if idle else TOO_SLOW)

    @property
    def _unread(self) -> bool:
        """Whether an answer lies here that the client does not take."""
        done = self.cycle is not None and self.cycle.response_complete
        return done and self.transport.get_write_buffer_size() > 0

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or coming."""
        return (
            self._refusing is not None
            or self._reading == "body"
            or (self.cycle is not None and not self.cycle.response_complete)
        )

    def last_answer(self) -> None:
        """While draining: what is being answered is the connection's last."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _end(self, said: bytes) -> None:
        self.transport.write(said)
        self.transport.close()
