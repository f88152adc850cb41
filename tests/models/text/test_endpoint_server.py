"""The provider against a server that we did not write: `transformers serve`, with a tiny model, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from core.errors import TextModelUnavailable
from models.text.endpoint import EndpointGenerator
from models.text.generator import Limits, Message, Prompt

NEEDED = ("fastapi", "openai", "multipart", "uvicorn")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"`transformers serve` needs {', '.join(MISSING)}: pip install fastapi openai python-multipart",
)
START_S = 120.0
PROMPTS = [Prompt((Message("system", "Say what it is."), Message("user", f"item {n}"))) for n in range(5)]


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(tiny_model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        )
        try:
            until = time.monotonic() + START_S
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_a_real_server_writes_every_prompt_several_at_once(server: str, tiny_model: Path) -> None:
    generator = EndpointGenerator(server, str(tiny_model), concurrency=3)
    try:
        written = generator.generate(PROMPTS, Limits(max_tokens=6), seed=1)
        assert len(written) == len(PROMPTS)
        assert all(0 < one.tokens <= 6 and one.finish_reason in ("stop", "length") for one in written)
        assert written == generator.generate(PROMPTS, Limits(max_tokens=6), seed=1)
        [late] = generator.generate(PROMPTS[:1], Limits(max_tokens=400, deadline=time.monotonic() + 0.05), seed=1)
        assert late.finish_reason == "deadline"
    finally:
        generator.close()


def test_a_model_that_a_real_server_does_not_have_is_refused_without_retries(server: str) -> None:
    generator = EndpointGenerator(server, "no-such-model")
    try:
        with pytest.raises(TextModelUnavailable, match="HEADWATER_TEXT_MODEL"):
            generator.generate(PROMPTS[:1], Limits(max_tokens=4), seed=1)
    finally:
        generator.close()
