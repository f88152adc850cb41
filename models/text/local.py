"""A transformers model in this process: batched, seeded, offline, on one thread or on a GPU.

torch and transformers are imported on first use, so importing this module costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError, TextModelUnavailable
from core.progress import Reporter
from core.telemetry import TEXT_TOKENS
from models.text.generator import Generation, Limits, Prompt

MANIFEST = "manifest.json"
BATCH_PROMPTS = 32  # prompts decoded together: a step costs about the same for 8 as for 24
MAX_PREFIXES = 16  # instructions with examples whose reading is kept; some 50 kB a token at 135M parameters
_TORCH = threading.Lock()  # thread count and random state are the process's: one generation at a time


def convert_gguf(gguf_path: Path, out_dir: Path, reporter: Reporter) -> Path:
    """Turn a GGUF file into a directory that loads in a second (tokenizer, config, bfloat16 safetensors); returns it.

    Done once: a directory whose manifest names this very file is kept. The manifest is written last and the directory
    renamed into place, so a conversion that was cut off is done again. Takes 10 to 30 s for 135M parameters.
    Raises TextModelUnavailable when the file is missing or cannot be read as a model.
    """
    try:
        source_sha256 = _sha256(gguf_path)
    except OSError as error:
        raise TextModelUnavailable(f"text model {gguf_path}: {error.strerror}; fetch it again") from error
    if (out_dir / MANIFEST).exists() and _is_whole(out_dir, source_sha256):
        return out_dir
    partial = out_dir.with_name(f"{out_dir.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with reporter.task("converting the text model (once)", 3) as task:
            model, tokenizer = _read_gguf(gguf_path)
            task.advance(2)
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            files = {path.name: _sha256(path) for path in sorted(partial.iterdir())}
            manifest = {"model": gguf_path.stem, "source_sha256": source_sha256, "files": files}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
            shutil.rmtree(out_dir, ignore_errors=True)
            partial.rename(out_dir)
            task.advance(1)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out_dir


def _read_gguf(gguf_path: Path) -> tuple[Any, Any]:
    """Model (bfloat16, its quantizer forgotten, so that it can be saved) and tokenizer of a GGUF file."""
    torch, transformers = _libraries()
    place: dict[str, Any] = {"gguf_file": gguf_path.name, "local_files_only": True}
    try:
        # its own progress bar would break into ours
        with _one_thread(torch), redirect_stderr(StringIO()), _parsed_once():
            model = transformers.AutoModelForCausalLM.from_pretrained(gguf_path.parent, dtype=torch.bfloat16, **place)
            tokenizer = transformers.AutoTokenizer.from_pretrained(gguf_path.parent, **place)
    except (OSError, ValueError, LookupError, RuntimeError, struct.error) as error:
        raise TextModelUnavailable(
            f"text model {gguf_path}: not a GGUF model that transformers can read ({error}); fetch it again"
        ) from error
    for name in [name for name in vars(model) if "quant" in name]:
        delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer


@contextmanager
def _parsed_once() -> Iterator[None]:
    """transformers 5.23 parses the whole file three times, and names every tensor anew for every module: remember both."""
    import gguf

    kept = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(kept[0]), cache(kept[1])
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = kept


class LocalGenerator:
    """TextGenerator over a directory that transformers can load. Safe to call from several threads: they take turns."""

    def __init__(self, directory: Path, device: str = "auto", batch_prompts: int = BATCH_PROMPTS) -> None:
        """Load the model. `device` is auto, cpu or cuda.

        Only local files and only safetensors are read. Raises ConfigurationError when there is no such directory or no
        such device, TextModelUnavailable when its files are damaged or are no model.
        """
        if not (directory / "config.json").is_file():
            raise ConfigurationError(
                f"text model {directory}: no such transformers model directory (config.json is missing); point "
                "HEADWATER_TEXT_MODEL at one, or run `headwater demo`, which fetches one"
            )
        self._torch, transformers = _libraries()
        self.name = _verified_name(directory)
        self.device = _device(self._torch, device)
        self._batch_prompts = batch_prompts
        dtype = self._torch.bfloat16 if _bfloat16_is_fast(self._torch, self.device) else self._torch.float32
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                directory, local_files_only=True, use_safetensors=True, dtype=dtype
            )
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            raise TextModelUnavailable(f"text model {directory}: cannot be loaded ({error})") from error
        self._model = model.to(self.device).eval()
        if self._tokenizer.eos_token_id is None:
            raise TextModelUnavailable(f"text model {directory}: its tokenizer names no end-of-text token")
        self._new_cache = transformers.DynamicCache
        self._prefixes: OrderedDict[tuple[int, ...], list[tuple[Any, Any]]] = OrderedDict()
        self._special = [token for token in self._tokenizer.all_special_tokens if token]

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        """See TextGenerator. Prompts of like length are decoded together; what stands before a prompt's last message
        (instruction, examples) is read once and kept."""
        encoded = [self._encode(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: sum(map(len, encoded[index])))
        written: dict[int, Generation] = {}
        with _TORCH, _one_thread(self._torch), self._torch.random.fork_rng(self._seeded_devices()):
            self._torch.manual_seed(seed)
            for start in range(0, len(order), self._batch_prompts):
                batch = order[start : start + self._batch_prompts]
                written.update(zip(batch, self._decode([encoded[i] for i in batch], limits), strict=True))
        TEXT_TOKENS.labels("local").inc(sum(generation.tokens for generation in written.values()))
        return [written[index] for index in range(len(prompts))]

    def _encode(self, prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of the chat: those before the last message, and the rest. Control tokens spelled out in a message are
        removed: data cannot open a turn."""
        messages = [{"role": m.role, "content": self._without_special(m.content)} for m in prompt.messages]
        whole = self._tokens(messages, True)
        before = self._tokens(messages[:-1], False) if len(messages) > 1 else ()
        kept = len(before) if whole[: len(before)] == before else 0
        return whole[:kept], whole[kept:]

    def _tokens(self, messages: list[dict[str, str]], answer_next: bool) -> tuple[int, ...]:
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer_next)
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _without_special(self, text: str) -> str:
        before = None
        while before != text:
            before = text
            for token in self._special:
                text = text.replace(token, "")
        return text

    def _decode(self, batch: list[tuple[tuple[int, ...], tuple[int, ...]]], limits: Limits) -> list[Generation]:
        torch, end = self._torch, self._tokenizer.eos_token_id
        left, right = max(len(prefix) for prefix, _ in batch), max(len(rest) for _, rest in batch)
        rows, real = (
            [],
            [],
        )  # (B, left + right): prefix and rest, each padded on its left, so that all rows end together
        for prefix, rest in batch:
            gaps = left - len(prefix), right - len(rest)
            rows.append([end] * gaps[0] + [*prefix] + [end] * gaps[1] + [*rest])
            real.append([0] * gaps[0] + [1] * len(prefix) + [0] * gaps[1] + [1] * len(rest))
        arguments: dict[str, Any] = {"do_sample": limits.temperature > 0}
        if limits.temperature > 0:
            arguments |= {"temperature": limits.temperature, "top_k": 0, "top_p": 1.0}
        with torch.inference_mode():
            output = self._model.generate(
                torch.tensor(rows, device=self.device),
                attention_mask=torch.tensor(real, device=self.device),
                past_key_values=self._read([prefix for prefix, _ in batch], left) if left else None,
                pad_token_id=end,
                eos_token_id=end,
                max_new_tokens=limits.max_tokens,
                stopping_criteria=[self._stopper(limits.stop, left + right)],
                **arguments,
            )
        return [self._generation(row, limits.stop) for row in output[:, left + right :].tolist()]

    def _read(self, prefixes: list[tuple[int, ...]], width: int) -> Any:
        """The model's cache after reading each row's prefix, padded on the left to `width` tokens."""
        torch = self._torch
        rows = [self._kept(prefix) for prefix in prefixes]
        cache = self._new_cache()
        for layer in range(self._model.config.num_hidden_layers):
            # (B, heads, width, head size), twice
            keys, values = (
                torch.cat(
                    [
                        torch.nn.functional.pad(row[layer][part], (0, 0, width - row[layer][part].shape[2], 0))
                        for row in rows
                    ]
                )
                for part in (0, 1)
            )
            cache.update(keys, values, layer)
        return cache

    def _kept(self, prefix: tuple[int, ...]) -> list[tuple[Any, Any]]:
        """Keys and values (1, heads, tokens, head size) of each layer for a prefix; the last few prefixes are kept."""
        if prefix not in self._prefixes:
            while len(self._prefixes) >= MAX_PREFIXES:
                self._prefixes.popitem(last=False)
            ids = self._torch.tensor([prefix or (self._tokenizer.eos_token_id,)], device=self.device)
            read = self._model(ids, use_cache=True, logits_to_keep=1).past_key_values
            self._prefixes[prefix] = [
                (layer.keys[:, :, : len(prefix)], layer.values[:, :, : len(prefix)]) for layer in read.layers
            ]
        self._prefixes.move_to_end(prefix)
        return self._prefixes[prefix]

    def _stopper(self, stop: tuple[str, ...], width: int) -> Any:
        """A stopping criterion: True for each row whose new text holds one of `stop`."""
        torch = self._torch

        def stopped(input_ids: Any, scores: Any, **_: Any) -> Any:
            texts = self._tokenizer.batch_decode(input_ids[:, width:]) if stop else [""] * len(input_ids)
            return torch.tensor([any(end in text for end in stop) for text in texts], device=input_ids.device)

        return stopped

    def _generation(self, ids: list[int], stop: tuple[str, ...]) -> Generation:
        end = self._tokenizer.eos_token_id
        ended = end in ids
        ids = ids[: ids.index(end)] if ended else ids
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        cuts = [text.index(mark) for mark in stop if mark in text]
        return Generation(
            text=text[: min(cuts)] if cuts else text,
            tokens=len(ids),
            finish_reason="stop" if ended or cuts else "length",
        )

    def _seeded_devices(self) -> list[Any]:
        return [self._torch.cuda.current_device()] if self.device == "cuda" else []


def _libraries() -> tuple[Any, Any]:
    """torch and transformers, told to stay quiet and never to look anything up."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Inside, torch works on one thread: on shared cores two spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(torch: Any, wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("HEADWATER_DEVICE=cuda, but torch sees no GPU; use auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _bfloat16_is_fast(torch: Any, device: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself; a CPU that does not is four times faster in float32."""
    if device == "cuda":
        return True
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _verified_name(directory: Path) -> str:
    """Model id @ the first 12 hex digits of the sha256 over its files, each compared with the manifest if there is one."""
    manifest = directory / MANIFEST
    if not manifest.exists():
        weights = sorted(directory.glob("*.safetensors"))
        digest = hashlib.sha256("".join(_sha256(path) for path in weights).encode())
        return f"{directory.name}@{digest.hexdigest()[:12]}"
    try:
        stated = json.loads(manifest.read_text())
        name = f"{stated['model']}@{stated['source_sha256'][:12]}"
        whole = _is_whole(directory, stated["source_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TextModelUnavailable(
            f"text model {directory}: {MANIFEST} cannot be read; delete the directory"
        ) from error
    if not whole:
        raise TextModelUnavailable(f"text model {directory}: a file is missing or damaged; delete the directory")
    return name


def _is_whole(directory: Path, source_sha256: str) -> bool:
    """Whether the manifest names this source and every file matches its checksum."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        files = manifest["files"]
        same_source = manifest["source_sha256"] == source_sha256
        return same_source and all(_sha256(directory / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
