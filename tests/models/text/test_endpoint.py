"""The provider against a real HTTP server on loopback that speaks the protocol, with a tiny model behind it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from core.errors import ConfigurationError, TextModelUnavailable
from core.progress import Silent
from core.settings import Settings
from models.text import open_generator
from models.text.endpoint import EndpointGenerator
from models.text.local import LocalGenerator
from tests.models.text.protocol import KEY, LIMITS, PROMPTS, Opened, Server, dwell, status


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
