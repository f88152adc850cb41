"""The provider against llama.cpp's own server, in a process of its own, with a tiny model, on loopback."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from models.content.branded import EXAMPLES
from models.content.description import DESCRIPTION
from models.content.kind import ItemFacts, Style
from models.content.label import LABEL, PROBES, TextFacts
from models.content.review_summary import REVIEW_SUMMARY
from models.text.endpoint import EndpointGenerator
from models.text.generator import Limits, Message, Prompt
from models.text.patterns import grammar

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None, reason="llama.cpp's server is not installed: pip install xllamacpp"
)
START_S = 60.0
SERVE = """
import sys, time, xllamacpp
asked = xllamacpp.CommonParams()
asked.model.path, asked.port, asked.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
asked.n_ctx, asked.n_parallel, asked.cpuparams.n_threads, asked.use_jinja, asked.warmup = 2048, 4, 1, True, False
server = xllamacpp.Server(asked)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path_factory.mktemp("llama") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(tiny_gguf), url.rpartition(":")[2]],
            stdin=subprocess.PIPE, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            until = time.monotonic() + START_S
            while not answers(f"{url}/health"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield url
        finally:
            process.kill()
            process.communicate()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def generator(server: str) -> Iterator[EndpointGenerator]:
    generator = EndpointGenerator(server, "tiny", concurrency=4)
    yield generator
    generator.close()


def prompts() -> list[Prompt]:
    """Those of every kind that is held to a pattern; names with every sign that means something in one."""
    name, brand, said = EXAMPLES[0]
    items = [
        ItemFacts.of("a", name, (), {"type": "product", "brand": brand}, said["en"]),
        ItemFacts.of("b", r'Tabs 3-1/2" (Pack of 2) [77] a+b*? 4^2 $x.', (), {"type": "product", "brand": "Fjordal"}),
    ]
    made = [DESCRIPTION.prompt(item, Style()) for item in items]
    made += [LABEL.prompt(TextFacts(PROBES[n][0]), Style()) for n in (0, 3)]
    return [*made, REVIEW_SUMMARY.prompt(REVIEW_SUMMARY.probes(Style())[0].facts, Style())]


def test_texts_are_held_to_their_patterns_whatever_the_model_would_say(generator: EndpointGenerator) -> None:
    asked = [Prompt((Message("user", f"item {n}"),), prompt.pattern) for n, prompt in enumerate(prompts())]
    assert all(prompt.pattern for prompt in asked)
    written = generator.generate(asked, Limits(300), seed=1)
    for prompt, one in zip(asked, written, strict=True):
        assert re.fullmatch(prompt.pattern, one.text), (prompt.pattern, one)
    [free] = generator.generate([Prompt(asked[0].messages)], Limits(20), seed=1)
    assert not re.fullmatch(asked[0].pattern, free.text)


def test_what_a_pattern_may_hold_a_grammar_says_as_well(generator: EndpointGenerator) -> None:
    for pattern in (r"(a|bc)\.\d{2,3}", r'[xy]"\\"\w?( z)*', r"(ok|no), .\s[^a-z]"):
        [one] = generator.generate([Prompt((Message("user", "Go."),), pattern)], Limits(60), seed=3)
        assert re.fullmatch(pattern, one.text), (pattern, grammar(pattern), one)


def test_several_prompts_at_once_and_a_deadline(generator: EndpointGenerator) -> None:
    asked = [Prompt((Message("user", f"item {n}"),)) for n in range(6)]
    written = generator.generate(asked, Limits(max_tokens=6), seed=1)
    assert all(0 < one.tokens <= 6 and one.finish_reason in ("stop", "length") for one in written)
    [late] = generator.generate(asked[:1], Limits(max_tokens=300, deadline=time.monotonic() + 0.01), seed=1)
    assert late.finish_reason == "deadline"
