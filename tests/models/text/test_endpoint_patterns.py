"""Patterns behind an endpoint: passed in the way that the server heeds, which is found out once."""

from __future__ import annotations

import re
import time

import pytest

from core.errors import TextModelUnavailable
from models.text.generator import Limits, Message, Prompt
from models.text.local import LocalGenerator
from models.text.patterns import WAYS
from tests.models.text.protocol import FIELDS, LIMITS, PROMPTS, Opened, Server, status

HELD = [Prompt((Message("user", "Say it."),), r"(red|blue), [0-9]{2}\.")] * 2


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
