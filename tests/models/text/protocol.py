"""An HTTP server on loopback that speaks the OpenAI-compatible protocol, a tiny model behind it, and misbehaves when told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from models.text.endpoint import EndpointGenerator
from models.text.generator import Limits, Message, Prompt
from models.text.local import LocalGenerator

FIELDS = ("model", "messages", "max_tokens", "temperature", "seed", "stop")
KEY = "sk-very-secret"
PROMPTS = [Prompt((Message("system", "Say what it is."), Message("user", f"item {n}"))) for n in range(6)]
LIMITS = Limits(max_tokens=8, temperature=0.7, stop=("\n",))

Misbehave = Callable[[BaseHTTPRequestHandler], bool]


@dataclass
class Seen:
    """What the server was asked, how many requests were in it at once, and how it is to misbehave (once each, in order)."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    faults: list[Misbehave] = field(default_factory=list)
    knows: str = ""  # the field of a pattern that the server heeds
    strict: bool = False  # whether it refuses fields that it does not know
    inside: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


Server = tuple[str, Seen]
Opened = Callable[..., EndpointGenerator]


def pattern_of(asked: dict[str, Any], field: str) -> str:
    """The pattern in that field of a request, as the server that has the field reads it."""
    said = asked.get(field, "")
    if field == "response_format" and said:
        return str(said["json_schema"]["schema"]["properties"]["text"]["pattern"]).removeprefix("^").removesuffix("$")
    return str(said["regex"] if field == "structured_outputs" and said else said)


def status(code: int, **headers: str) -> Misbehave:
    def answer(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


def body(raw: bytes) -> Misbehave:
    def answer(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)
        return True

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> bool:
    handler.close_connection = True
    return True


def dawdle(handler: BaseHTTPRequestHandler) -> bool:
    time.sleep(1.0)
    handler.close_connection = True
    return True


def dwell(handler: BaseHTTPRequestHandler) -> bool:
    time.sleep(0.1)
    return False


@contextmanager
def serving(behind: LocalGenerator) -> Iterator[Server]:
    """Its address, and what it is asked and is to do."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with seen.lock:
                seen.bodies.append(asked)
                seen.keys.append(self.headers.get("Authorization"))
                seen.paths.append(self.path)
                seen.inside += 1
                seen.most = max(seen.most, seen.inside)
                fault = seen.faults.pop(0) if seen.faults else None
            try:
                if fault is None or not fault(self):
                    self.complete(asked)
            finally:
                with seen.lock:
                    seen.inside -= 1

        def complete(self, asked: dict[str, Any]) -> None:
            pattern = pattern_of(asked, seen.knows)
            if (seen.strict and set(asked) - {*FIELDS, seen.knows}) or "unreadable" in pattern:
                status(422)(self)
                return
            prompt = Prompt(tuple(Message(m["role"], m["content"]) for m in asked["messages"]), pattern)
            limits = Limits(asked["max_tokens"], tuple(asked.get("stop", ())), asked["temperature"])
            [written] = behind.generate([prompt], limits, asked["seed"])
            text = (
                json.dumps({"text": written.text}, indent=1) if "response_format" in asked and pattern else written.text
            )
            said = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": said, "finish_reason": written.finish_reason}
            usage = {"prompt_tokens": 1, "completion_tokens": written.tokens}
            answer = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}
            body(json.dumps(answer).encode())(self)

        def log_message(self, format: str, *args: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", seen
    httpd.shutdown()
    thread.join()
    httpd.server_close()
