"""The provider when its server is slow, busy, away or refuses: what is tried again, what is waited for, what is given up."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler

import pytest

from core.errors import TextModelUnavailable
from models.text.endpoint import _retry_after_s
from models.text.generator import Limits
from models.text.local import LocalGenerator
from tests.models.text.protocol import LIMITS, PROMPTS, Misbehave, Opened, Server, body, dawdle, hang_up, status


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

    def hold(handler: BaseHTTPRequestHandler) -> bool:
        """Answers once the other request has heard that it is to wait, so that nobody else comes before."""
        note(handler)
        while not generator._pause_until:
            time.sleep(0.001)
        return False

    seen.faults = [refuse, *[note] * len(PROMPTS)]
    assert len(opened(url, concurrency=1).generate(PROMPTS, LIMITS, seed=1)) == len(PROMPTS)
    generator = opened(url, concurrency=2)
    arrived.clear()
    seen.faults = [refuse, hold, *[note] * len(PROMPTS)]
    generator.generate(PROMPTS, LIMITS, seed=1)
    assert len(arrived) == len(PROMPTS) + 1
    assert min(arrived[2:]) >= generator._pause_until - 0.01


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
    seen.faults = [status(429, Retry_After="20")] * 20
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
