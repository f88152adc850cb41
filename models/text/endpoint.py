"""Any server that speaks OpenAI's chat completions over HTTP: vLLM, llama.cpp, a hosted model.

Specification: POST {base}/v1/chat/completions of the OpenAI API; Retry-After as in RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from core.errors import ConfigurationError, TextModelUnavailable
from core.telemetry import TEXT_TOKENS
from models.text import patterns
from models.text.generator import Generation, Limits, Prompt

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
GONE_LOOK_S = 0.05  # how often it is asked whether anybody waits still
BACKOFF_S = 0.5  # before the first retry; doubles, plus or minus half
MAX_WAIT_S = 30.0  # a server that asks for a longer pause is unavailable
RETRIED = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
ADVICE = {
    400: "it refuses the request; HEADWATER_TEXT_MODEL may name a model that is no chat model",
    401: "it refuses the key; set HEADWATER_TEXT_API_KEY",
    403: "it refuses the key; set HEADWATER_TEXT_API_KEY",
    404: "check HEADWATER_TEXT_ENDPOINT and that HEADWATER_TEXT_MODEL names a model it serves",
}


class _Said(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    """The part of a chat completion that is read."""

    choices: list[_Choice]
    usage: _Usage | None = None


class _Retriable(Exception):
    """The request failed in a way that another try may heal; `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _PatternRefused(Exception):
    """The server does not take the field of the pattern, or not this pattern."""


class EndpointGenerator:
    """TextGenerator over HTTP. Keeps `concurrency` requests in flight; safe to call from several threads.

    A server that answers 429 or 503 with Retry-After is left alone for so long by all requests. The first prompt with a
    pattern costs up to five short requests, which find out how the server is told of one (see patterns.py); of a server that
    holds texts to none a warning is logged, and texts are written freely.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        concurrency: int = 8,
        attempts: int = 4,
        timeout_s: float = 60.0,
    ) -> None:
        """`base_url` with or without its final /v1. Each request is sent `attempts` times at most, and may be silent for
        `timeout_s`. The key goes into the Authorization header and nowhere else. Opens no connection yet.

        Raises ConfigurationError when `base_url` is no http(s) address.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                "HEADWATER_TEXT_ENDPOINT: give an http:// or https:// address, as in http://localhost:8000/v1"
            )
        base = base_url.rstrip("/").removesuffix("/v1")
        self.name = model
        self._url = f"{base}/v1/chat/completions"
        self._shown = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname  # without user:password@
        self._concurrency, self._attempts, self._timeout_s = concurrency, attempts, timeout_s
        self._way: str | None = None  # of telling it a pattern; "": it takes none; None: nobody asked so far
        self._finding = threading.Lock()
        self._pause_until = 0.0  # of time.monotonic(): what one request was told to wait, all wait
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_connections=concurrency),
        )

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        """See TextGenerator. The seed is passed on; whether the server honours it is its own affair.

        Raises TextModelUnavailable when any request fails for good; the others are not awaited.
        """
        way = self._way_of_patterns(limits.deadline) if any(prompt.pattern for prompt in prompts) else ""
        pool = ThreadPoolExecutor(
            max_workers=max(1, min(self._concurrency, len(prompts))), thread_name_prefix="text-endpoint"
        )
        try:
            pending = [pool.submit(self._held, prompt, limits, seed, way) for prompt in prompts]
            while limits.gone is not None and wait(pending, GONE_LOOK_S).not_done:
                if limits.gone():  # what is under way ends by itself, at its deadline at the latest
                    return [Generation("", 0, "deadline") for _ in prompts]
            generations = [future.result() for future in pending]
        finally:
            pool.shutdown(wait=limits.gone is None, cancel_futures=True)
        TEXT_TOKENS.labels("endpoint").inc(sum(generation.tokens for generation in generations))
        return generations

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _way_of_patterns(self, deadline: float | None) -> str:
        """The first of patterns.WAYS that the server heeds; "" where it heeds none."""
        with self._finding:
            if self._way is None:
                self._way = self._found_way(Limits(patterns.PROBE_TOKENS, deadline=deadline))
            return self._way or ""

    def _found_way(self, limits: Limits) -> str | None:
        for way in patterns.WAYS:
            try:
                said = self._complete(patterns.PROBE, limits, 0, way)
            except _PatternRefused:
                continue
            if said.finish_reason == "deadline":
                return None  # the next request goes on asking
            if patterns.holds(said.text):
                log.info("text endpoint %s: holds texts to a pattern by %r", self._shown, way)
                return way
        log.warning(
            "text endpoint %s: holds texts to no pattern (tried %s); they are written freely, and more of them are refused",
            self._shown, ", ".join(patterns.WAYS),
        )  # fmt: skip
        return ""

    def _held(self, prompt: Prompt, limits: Limits, seed: int, way: str) -> Generation:
        """One text, held to its pattern where the server takes it."""
        if way and prompt.pattern:
            try:
                return self._complete(prompt, limits, seed, way)
            except _PatternRefused as refused:
                log.warning("text endpoint %s: %s; it is written freely", self._shown, refused)
        return self._complete(prompt, limits, seed, "")

    def _complete(self, prompt: Prompt, limits: Limits, seed: int, way: str) -> Generation:
        """One request with its retries; told of the pattern by `way`, "" for not at all. Raises _PatternRefused."""
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": limits.max_tokens,
            "temperature": limits.temperature,
            "seed": seed,
            **({"stop": list(limits.stop)} if limits.stop else {}),
        }
        if way:
            body = patterns.asked(way, prompt.pattern, body)
        for attempt in range(1, self._attempts + 1):
            if not _slept_until(self._pause_until, limits.deadline):
                return Generation("", 0, "deadline")
            try:
                written = self._once(body, limits.deadline, bool(way))
                return replace(written, text=patterns.unwrapped(way, written.text))
            except _Retriable as failure:
                if limits.deadline is not None and time.monotonic() >= limits.deadline:
                    return Generation("", 0, "deadline")
                wait_s = failure.wait_s
                if wait_s is None:
                    wait_s = BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
                if attempt == self._attempts or wait_s > MAX_WAIT_S:
                    raise TextModelUnavailable(
                        f"text endpoint {self._shown}: {failure} (tried {attempt} times); is the server at "
                        "HEADWATER_TEXT_ENDPOINT running?"
                    ) from failure
                if failure.wait_s is not None:
                    self._pause_until = max(self._pause_until, time.monotonic() + wait_s)
                elif not _slept_until(time.monotonic() + wait_s, limits.deadline):
                    return Generation("", 0, "deadline")
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, body: dict[str, Any], deadline: float | None, held: bool) -> Generation:
        left_s = self._timeout_s if deadline is None else min(self._timeout_s, max(0.001, deadline - time.monotonic()))
        try:
            response = self._client.post(
                self._url, json=body, timeout=httpx.Timeout(left_s, connect=min(left_s, CONNECT_TIMEOUT_S))
            )
        except httpx.TimeoutException as error:
            raise _Retriable(f"no answer in time ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise _Retriable(f"the connection failed ({error or type(error).__name__})") from error
        if response.status_code in RETRIED:
            raise _Retriable(f"answered {response.status_code}", _retry_after_s(response.headers.get("Retry-After")))
        if held and response.status_code in (400, 422):
            raise _PatternRefused(f"a pattern was answered with {response.status_code}")
        if response.status_code != 200:
            advice = ADVICE.get(response.status_code, "that is no chat completion")
            raise TextModelUnavailable(f"text endpoint {self._shown} answered {response.status_code}: {advice}")
        try:
            answer = msgspec.json.decode(response.content, type=_Answer)
            choice = answer.choices[0]
        except (msgspec.DecodeError, IndexError) as error:
            raise _Retriable("what it answered is no chat completion") from error
        return Generation(
            text=choice.message.content,
            tokens=answer.usage.completion_tokens if answer.usage else 0,
            finish_reason="length" if choice.finish_reason == "length" else "stop",
        )


def _slept_until(moment: float, deadline: float | None) -> bool:
    """Sleep until `moment` (of time.monotonic()); False, and no longer than until the deadline, where that is before."""
    end = moment if deadline is None else min(moment, deadline)
    time.sleep(max(0.0, end - time.monotonic()))
    return deadline is None or time.monotonic() < deadline


def _retry_after_s(header: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date; None when absent or unreadable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
