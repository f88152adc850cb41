"""The decoder against transformers' own `generate`, and what holds whoever else is in the batch."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError, TextModelUnavailable
from models.text.decoding import Decoder
from models.text.generator import Limits, Message, Prompt
from models.text.local import _TORCH, LocalGenerator

LIMITS = Limits(max_tokens=14)
WARM = Limits(max_tokens=14, temperature=1.0)
EXAMPLES = (Message("user", "an example"), Message("assistant", "and its answer"))


def prompt(text: str, pattern: str = "") -> Prompt:
    return Prompt((Message("system", "You write."), *EXAMPLES[: 2 * (len(text) % 2)], Message("user", text)), pattern)


TEXTS = ("a", "bb", "a film of 1931", "something much longer than all of the others", "", "x")
# Of one beginning there are so many, of unlike length, that several are read at once and others wait.
PROMPTS = [prompt(text) for text in (*TEXTS, *("z" * 2 * n for n in range(1, 17)))]


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> LocalGenerator:
    return LocalGenerator(tiny_model, "cpu", precision="float32")


def test_it_writes_what_transformers_itself_writes(tiny_model: Path, generator: LocalGenerator) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    for one, written in zip(PROMPTS, generator.generate(PROMPTS, LIMITS, seed=0), strict=True):
        chat = [{"role": message.role, "content": message.content} for message in one.messages]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        answer = model.generate(**ids, max_new_tokens=14, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        assert written.text == tokenizer.decode(answer[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("limits", [LIMITS, WARM], ids=["likeliest", "sampled"])
def test_a_text_does_not_depend_on_rows_threads_or_company(tiny_model: Path, limits: Limits) -> None:
    def made(rows: int, threads: int) -> LocalGenerator:
        return LocalGenerator(tiny_model, "cpu", rows=rows, threads=threads, precision="float32")

    alone = [made(1, 1).generate([one], limits, seed=3)[0] for one in PROMPTS]
    for rows, threads in ((3, 2), (16, 1)):
        assert made(rows, threads).generate(PROMPTS, limits, seed=3) == alone
    assert made(8, 2).generate(PROMPTS[::-1], limits, seed=3) == alone[::-1]


@pytest.mark.parametrize("limits", [LIMITS, WARM], ids=["likeliest", "sampled"])
def test_eight_bits_on_two_threads_repeat_themselves(tiny_model: Path, limits: Limits) -> None:
    twice = [LocalGenerator(tiny_model, "cpu", threads=2, precision="int8").generate(PROMPTS, limits, 3) for _ in "ab"]
    assert twice[0] == twice[1]


def test_eight_bits_come_close_to_a_layer_and_a_row_is_its_own() -> None:
    import torch

    from models.text.int8 import Int8Linear, to_int8

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Linear(96, 64), torch.nn.ReLU(), torch.nn.Linear(64, 48, bias=False)
        ).eval()
        x = torch.randn(5, 7, 96) * torch.logspace(-2, 2, 7)[:, None]  # rows of very unlike size
    with torch.inference_mode():
        exact = model(x)
        to_int8(model)
        assert [type(part) for part in model][::2] == [Int8Linear, Int8Linear]
        near = model(x)
        assert torch.equal(model(x[3:4, 2:3]), near[3:4, 2:3])
    error = (near - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert near.shape == exact.shape
    assert error.max() < 0.05


PATTERN = r"(The Quiet Orchard|Paper \(Pack of 2\)) is (a|one of 12) films?( from 1974)?\."


@pytest.mark.parametrize("limits", [Limits(max_tokens=80), Limits(max_tokens=80, temperature=2.0)])
def test_a_pattern_holds_even_a_model_that_writes_nonsense(generator: LocalGenerator, limits: Limits) -> None:
    free = PROMPTS[:8]
    held = [prompt(one.messages[-1].content, PATTERN) for one in free]
    written = generator.generate([*held, *free], limits, seed=2)
    for one in written[: len(held)]:
        assert re.fullmatch(PATTERN, one.text), one
        assert one.finish_reason == "stop"
        assert one.tokens == len(one.text.encode())  # a model over bytes
    assert written[len(held) :] == generator.generate(free, limits, seed=2)
    assert written[: len(held)] == [generator.generate([one], limits, seed=2)[0] for one in held]


def test_what_a_pattern_forces_to_its_end_is_not_read(
    generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    forward = Decoder._forward

    def counted(self: Decoder, memory: Any, first: int, tokens: Any, *places: Any) -> Any:
        read.append(max(map(len, tokens)))
        return forward(self, memory, first, tokens, *places)

    ends = " and nothing else that could be chosen"
    generator.generate([prompt("a")], LIMITS, seed=1)  # the examples are read and kept
    monkeypatch.setattr(Decoder, "_forward", counted)
    [one] = generator.generate([prompt("a", f"(red|blue){ends}")], Limits(max_tokens=80), seed=1)
    assert one.text in (f"red{ends}", f"blue{ends}")
    assert (one.tokens, one.finish_reason) == (len(one.text), "stop")
    assert len(read) == 1  # the prompt; the first letter decides the rest
    [cut] = generator.generate([prompt("a", f"(red|blue){ends}")], Limits(max_tokens=20), seed=1)
    assert (cut.text, cut.finish_reason) == (one.text[:20], "length")


def test_a_pattern_ends_at_the_most_tokens_and_a_broken_one_is_said(generator: LocalGenerator) -> None:
    [cut] = generator.generate([prompt("a", PATTERN)], Limits(max_tokens=9), seed=1)
    assert (cut.tokens, cut.finish_reason) == (9, "length")
    assert any(name.startswith(cut.text) for name in ("The Quiet Orchard", "Paper (Pack"))
    with pytest.raises(ConfigurationError, match="pattern cannot be read"):
        generator.generate([prompt("a", "(")], LIMITS, seed=1)


def test_a_deadline_ends_every_text_with_what_there_is(generator: LocalGenerator) -> None:
    endless = Limits(max_tokens=200)
    whole = generator.generate(PROMPTS, endless, seed=1)
    began = time.monotonic()
    written = generator.generate(PROMPTS * 6, Limits(max_tokens=200, deadline=began + 0.2), seed=1)
    assert {one.finish_reason for one in written} <= {"stop", "length", "deadline"}
    assert sum(one.finish_reason == "deadline" for one in written) > 0
    for one, full in zip(written, whole * 6, strict=True):
        assert full.text.startswith(one.text.rstrip("�"))  # half a character may have been cut


def test_a_deadline_that_passes_while_another_generation_runs_is_kept(generator: LocalGenerator) -> None:
    released = threading.Event()

    def hold() -> None:
        with _TORCH:
            released.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        while not _TORCH.locked():
            time.sleep(0.01)
        [written] = generator.generate(PROMPTS[:1], Limits(deadline=time.monotonic() + 0.1), seed=1)
    finally:
        released.set()
        holder.join()
    assert (written.text, written.tokens, written.finish_reason) == ("", 0, "deadline")


def test_attention_that_cannot_be_computed_here_leaves_the_template_to_speak_and_says_what_to_do():
    import torch

    from models.text.decoding import _attention

    nothing = torch.zeros(1)
    with pytest.raises(TextModelUnavailable, match="HEADWATER_TEXT_ENDPOINT"):
        _attention(None, nothing, nothing, nothing, None, scaling=1.0, memory=None, softcap=50.0)
