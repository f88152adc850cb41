"""The provider against a real HTTP server on loopback that speaks the protocol, with a tiny model behind it."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError, TextModelUnavailable
from core.progress import Silent
from core.settings import Settings
from models.text import open_generator
from models.text.endpoint import EndpointGenerator, _retry_after_s
from models.text.generator import Limits, Message, Prompt
from models.text.local import LocalGenerator
from models.text.patterns import WAYS

FIELDS = ("model", "messages", "max_tokens", "temperature", "seed", "stop")
HELD = [Prompt(prompt.messages, r"(red|blue), [0-9]{2}\.") for prompt in (Prompt((Message("user", "Say it."),)),) * 2]
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


@pytest.fixture(scope="module")
def behind(tiny_model: Path) -> LocalGenerator:
    return LocalGenerator(tiny_model, "cpu")


@pytest.fixture
def server(behind: LocalGenerator) -> Iterator[tuple[str, Seen]]:
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


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.text.endpoint.BACKOFF_S", 0.01)


@pytest.fixture
def opened() -> Iterator[Callable[..., EndpointGenerator]]:
    """Opens generators and closes them in the end."""
    generators: list[EndpointGenerator] = []

    def opener(url: str, **arguments: Any) -> EndpointGenerator:
        generators.append(EndpointGenerator(url, "tiny", KEY, **arguments))
        return generators[-1]

    yield opener
    for generator in generators:
        generator.close()


Server = tuple[str, Seen]
Opened = Callable[..., EndpointGenerator]


def test_it_writes_what_the_model_behind_it_writes_in_the_order_asked(
    server: Server, opened: Opened, behind: LocalGenerator
) -> None:
    url, seen = server
    written = opened(url).generate(PROMPTS, LIMITS, seed=4)
    assert written == [behind.generate([prompt], LIMITS, seed=4)[0] for prompt in PROMPTS]
    assert set(seen.paths) == {"/v1/chat/completions"}
    assert seen.bodies[0]["model"] == "tiny"
    assert set(seen.keys) == {f"Bearer {KEY}"}
    assert opened(url).generate([], LIMITS, seed=4) == []


def test_a_base_url_may_end_in_v1(server: Server, opened: Opened) -> None:
    url, seen = server
    opened(f"{url}/v1/").generate(PROMPTS[:1], LIMITS, seed=1)
    assert seen.paths == ["/v1/chat/completions"]


def test_as_many_requests_as_allowed_are_in_flight_and_no_more(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [dwell] * len(PROMPTS)
    opened(url, concurrency=3).generate(PROMPTS, LIMITS, seed=1)
    assert 2 <= seen.most <= 3


@pytest.mark.parametrize(
    "faults",
    [
        [status(500), status(503)],
        [status(429)],
        [hang_up],
        [body(b"<html>not json</html>")],
        [body(b'{"choices": []}')],
        [body(b'{"choices": [{"message": {"content": null}}]}')],
    ],
    ids=["5xx", "429", "hang-up", "no JSON", "no choice", "no text"],
)
@pytest.mark.usefixtures("no_backoff")
def test_passing_faults_are_retried_and_the_text_comes(
    faults: list[Misbehave], server: Server, opened: Opened, behind: LocalGenerator
) -> None:
    url, seen = server
    seen.faults = list(faults)
    assert opened(url).generate(PROMPTS[:1], LIMITS, seed=1) == behind.generate(PROMPTS[:1], LIMITS, seed=1)
    assert len(seen.bodies) == len(faults) + 1


def test_retry_after_is_waited_for(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [status(429, Retry_After="0.4")]
    began = time.monotonic()
    assert len(opened(url).generate(PROMPTS[:1], LIMITS, seed=1)) == 1
    assert time.monotonic() - began >= 0.4


def test_what_one_request_is_told_to_wait_all_wait(server: Server, opened: Opened) -> None:
    url, seen = server
    arrived: list[float] = []

    def note(handler: BaseHTTPRequestHandler) -> bool:
        arrived.append(time.monotonic())
        return False

    def refuse(handler: BaseHTTPRequestHandler) -> bool:
        note(handler)
        return status(429, Retry_After="0.5")(handler)

    seen.faults = [refuse, *[note] * len(PROMPTS)]
    assert len(opened(url, concurrency=1).generate(PROMPTS, LIMITS, seed=1)) == len(PROMPTS)
    generator = opened(url, concurrency=2)
    arrived.clear()
    seen.faults = [refuse, note, *[note] * len(PROMPTS)]
    generator.generate(PROMPTS, LIMITS, seed=1)
    first = arrived[0]
    # One more may have been on its way; nobody else comes before the pause is over.
    assert sum(moment < first + 0.45 for moment in arrived) <= 2 + 1


def test_a_deadline_ends_the_waiting_and_there_is_no_text(server: Server, opened: Opened) -> None:
    url, seen = server
    given_up = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> bool:
        handler.close_connection = True
        assert given_up.wait(60), "the server was waited for"
        return True

    seen.faults = [hold] * len(PROMPTS)
    limits = Limits(max_tokens=8, deadline=time.monotonic() + 0.3)
    written = opened(url, concurrency=8).generate(PROMPTS, limits, seed=1)
    assert [(one.text, one.finish_reason) for one in written] == [("", "deadline")] * len(PROMPTS)
    assert seen.inside > 0 or not seen.bodies  # whoever came in time is still being kept waiting
    given_up.set()
    seen.faults.clear()
    seen.faults = [status(429, Retry_After="20")]
    [late] = opened(url).generate(PROMPTS[:1], Limits(max_tokens=8, deadline=time.monotonic() + 0.3), seed=1)
    assert late.finish_reason == "deadline"


def test_a_retry_after_beyond_patience_is_unavailable_at_once(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [status(503, Retry_After="3600")]
    with pytest.raises(TextModelUnavailable, match="answered 503"):
        opened(url).generate(PROMPTS[:1], LIMITS, seed=1)
    assert len(seen.bodies) == 1


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert _retry_after_s("7") == 7.0
    soon = _retry_after_s(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert soon is not None
    assert 20 < soon <= 30
    assert _retry_after_s(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0.0
    assert _retry_after_s("soon") is None
    assert _retry_after_s(None) is None


@pytest.mark.usefixtures("no_backoff")
def test_lasting_faults_end_as_unavailable_after_the_last_try(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [status(500)] * 10
    with pytest.raises(TextModelUnavailable, match=r"answered 500 \(tried 3 times\)"):
        opened(url, attempts=3).generate(PROMPTS[:1], LIMITS, seed=1)
    assert len(seen.bodies) == 3


@pytest.mark.usefixtures("no_backoff")
def test_a_server_that_keeps_silent_is_unavailable(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [dawdle] * 2
    with pytest.raises(TextModelUnavailable, match="no answer in time"):
        opened(url, attempts=2, timeout_s=0.2).generate(PROMPTS[:1], LIMITS, seed=1)


@pytest.mark.usefixtures("no_backoff")
def test_no_server_at_all_is_unavailable_and_says_which_setting(opened: Opened) -> None:
    with pytest.raises(TextModelUnavailable, match=r"127\.0\.0\.1:9: the connection failed.*HEADWATER_TEXT_ENDPOINT"):
        opened("http://user:hidden@127.0.0.1:9", attempts=2).generate(PROMPTS[:1], LIMITS, seed=1)


@pytest.mark.parametrize(
    ("code", "advice"), [(401, "HEADWATER_TEXT_API_KEY"), (404, "HEADWATER_TEXT_MODEL"), (400, "HEADWATER_TEXT_MODEL")]
)
def test_a_refusal_is_not_retried_and_says_what_to_do(code: int, advice: str, server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [status(code)]
    with pytest.raises(TextModelUnavailable, match=advice):
        opened(url).generate(PROMPTS[:1], LIMITS, seed=1)
    assert len(seen.bodies) == 1


def test_a_redirect_does_not_carry_the_key_elsewhere(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.faults = [status(307, Location="http://127.0.0.1:9/v1/chat/completions")]
    with pytest.raises(TextModelUnavailable, match="answered 307"):
        opened(url).generate(PROMPTS[:1], LIMITS, seed=1)


@pytest.mark.usefixtures("no_backoff")
def test_the_key_is_in_no_log_and_no_message(server: Server, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    url, seen = server
    caplog.set_level(logging.DEBUG)
    generator = opened(url, attempts=2)
    generator.generate(PROMPTS[:1], LIMITS, seed=1)
    seen.faults = [status(500)] * 2
    with pytest.raises(TextModelUnavailable) as refused:
        generator.generate(PROMPTS[:1], LIMITS, seed=1)
    assert KEY not in caplog.text + str(refused.value) + repr(generator) + generator.name


def test_open_generator_chooses_the_provider_by_the_settings(server: Server, tiny_model: Path, tmp_path: Path) -> None:
    url, _ = server
    remote = open_generator(Settings(text_endpoint=url, text_model="tiny"), Silent())
    assert isinstance(remote, EndpointGenerator)
    assert remote.name == "tiny"
    assert len(remote.generate(PROMPTS[:2], LIMITS, seed=1)) == 2
    remote.close()
    local = open_generator(Settings(text_model=str(tiny_model), device="cpu"), Silent())
    assert isinstance(local, LocalGenerator)
    with pytest.raises(ConfigurationError, match="HEADWATER_TEXT_MODEL"):
        open_generator(Settings(text_endpoint=url), Silent())
    with pytest.raises(ConfigurationError, match="http://"):
        open_generator(Settings(text_endpoint="localhost:8000", text_model="tiny"), Silent())
    with pytest.raises(TextModelUnavailable, match="headwater demo"):
        open_generator(Settings(home=tmp_path), Silent())
    with pytest.raises(ConfigurationError, match="no such transformers model directory"):
        open_generator(Settings(text_model=str(tmp_path / "none")), Silent())


@pytest.mark.parametrize(
    "strict", [False, True], ids=["ignores what it does not know", "refuses what it does not know"]
)
@pytest.mark.parametrize("field", ["structured_outputs", "guided_regex", "regex", "response_format"])
def test_a_pattern_is_passed_in_the_way_that_the_server_heeds(
    field: str, strict: bool, server: Server, opened: Opened
) -> None:
    url, seen = server
    seen.knows, seen.strict = field, strict
    generator = opened(url)
    for _ in range(2):
        written = generator.generate(HELD, Limits(24, ("\n",)), seed=1)
        assert all(re.fullmatch(HELD[0].pattern, one.text) for one in written), written
    # Found out once, before the first text; no way is tried twice, and a prompt without a pattern has none.
    assert len(seen.bodies) == list(WAYS).index(field) + 1 + 2 * len(HELD)
    generator.generate(PROMPTS[:1], LIMITS, seed=1)
    assert set(seen.bodies[-1]) == set(FIELDS)


@pytest.mark.parametrize("strict", [False, True], ids=["ignores it", "refuses it"])
def test_a_server_that_holds_to_no_pattern_writes_freely_and_a_warning_says_so(
    strict: bool, server: Server, opened: Opened, behind: LocalGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    url, seen = server
    seen.strict = strict
    generator = opened(url)
    for _ in range(2):
        free = [Prompt(prompt.messages) for prompt in HELD]
        assert generator.generate(HELD, LIMITS, seed=1) == behind.generate(free, LIMITS, seed=1)
    assert len(seen.bodies) == len(WAYS) + 2 * len(HELD)
    assert [record.levelname for record in caplog.records if "no pattern" in record.message] == ["WARNING"]


def test_a_pattern_that_the_server_cannot_read_costs_that_text_its_hold_only(
    server: Server, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    url, seen = server
    seen.knows = "regex"
    held, free = opened(url).generate([HELD[0], Prompt(HELD[0].messages, "unreadable")], Limits(24), seed=1)
    assert re.fullmatch(HELD[0].pattern, held.text)
    assert free.text
    assert "422; it is written freely" in caplog.text


@pytest.mark.usefixtures("no_backoff")
def test_a_server_that_is_away_is_asked_again_which_way_it_knows(server: Server, opened: Opened) -> None:
    url, seen = server
    seen.knows, seen.faults = "regex", [status(500)] * 2
    generator = opened(url, attempts=2)
    with pytest.raises(TextModelUnavailable):
        generator.generate(HELD, Limits(24), seed=1)
    [late] = generator.generate(HELD[:1], Limits(24, deadline=time.monotonic() - 1), seed=1)
    assert late.finish_reason == "deadline"
    [held] = generator.generate(HELD[:1], Limits(24), seed=1)
    assert re.fullmatch(HELD[0].pattern, held.text)
