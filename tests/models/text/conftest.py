"""A language model small enough to build in a test: real transformers weights and tokenizer, random words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.text.endpoint import EndpointGenerator
from models.text.local import LocalGenerator
from tests.models.text.protocol import KEY, Opened, Server, serving

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_model(directory: Path, end: str = "<|im_end|>") -> Path:
    """A two-layer Llama over bytes, with random weights of a fixed seed. `end` is its end-of-text token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|im_start|>", "<|im_end|>", *alphabet]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, additional_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    fast.chat_template = CHAT_TEMPLATE
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokens), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.3, bos_token_id=None, eos_token_id=None,
                pad_token_id=None, tie_word_embeddings=False,
            )
        )  # fmt: skip
    model.save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny model."""
    return build_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def tiny_model_ending_with(tmp_path: Path) -> Callable[[str], Path]:
    """Builds the same model with another end-of-text token."""
    return lambda end: build_model(tmp_path / "tiny-model", end)


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of a one-layer Llama over bytes, random weights."""
    import gguf
    import numpy as np
    from tokenizers import pre_tokenizers

    path = tmp_path_factory.mktemp("tiny-gguf") / "tiny.gguf"
    width, inner, heads, kv_heads = 32, 64, 4, 2
    tokens = ["<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "to"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["t o"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT_TEMPLATE)
    shapes = {
        "token_embd": (len(tokens), width), "output_norm": (width,), "output": (len(tokens), width),
        "blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,), "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (width // heads * kv_heads, width), "blk.0.attn_v": (width // heads * kv_heads, width),
        "blk.0.attn_output": (width, width), "blk.0.ffn_gate": (inner, width), "blk.0.ffn_up": (inner, width),
        "blk.0.ffn_down": (width, inner),
    }  # fmt: skip
    random = np.random.default_rng(7)
    for name, shape in shapes.items():
        weights = random.standard_normal(shape) * 0.3 if len(shape) > 1 else np.ones(shape)
        writer.add_tensor(f"{name}.weight", weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def behind(tiny_model: Path) -> LocalGenerator:
    """The model behind `server`."""
    return LocalGenerator(tiny_model, "cpu")


@pytest.fixture
def server(behind: LocalGenerator) -> Iterator[Server]:
    """See protocol.py."""
    with serving(behind) as address_and_seen:
        yield address_and_seen


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once."""
    monkeypatch.setattr("models.text.endpoint.BACKOFF_S", 0.01)


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens generators and closes them in the end."""
    generators: list[EndpointGenerator] = []

    def opener(url: str, **arguments: Any) -> EndpointGenerator:
        generators.append(EndpointGenerator(url, "tiny", KEY, **arguments))
        return generators[-1]

    yield opener
    for generator in generators:
        generator.close()
