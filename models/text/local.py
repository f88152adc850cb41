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
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from functools import cache
from io import StringIO
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

from core.errors import ConfigurationError, TextModelUnavailable
from core.progress import Reporter
from core.telemetry import TEXT_TOKENS
from models.text.generator import Generation, Limits, Prompt

MANIFEST = "manifest.json"
CPU_ROWS = 32  # texts written at once
CUDA_ROWS = 256
_TORCH = threading.Lock()  # the number of threads is the process's: one generation at a time

Precision = Literal["auto", "int8", "bfloat16", "float32"]


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

    def __init__(
        self, directory: Path, device: str = "auto", rows: int | None = None, threads: int = 1, precision: Precision = "auto"
    ) -> None:  # fmt: skip
        """Load the model. `device` is auto, cpu or cuda.

        `rows` texts are written at once by each of `threads` (CPU cores); None: as many as pay. `precision` auto takes int8
        where the CPU multiplies it in hardware, else bfloat16 where that is fast, else float32. Only local files and only
        safetensors are read. Raises ConfigurationError when there is no such directory or no such device,
        TextModelUnavailable when its files are damaged or are no model that can be run here.
        """
        if not (directory / "config.json").is_file():
            raise ConfigurationError(
                f"text model {directory}: no such transformers model directory (config.json is missing); point "
                "HEADWATER_TEXT_MODEL at one, or run `headwater demo`, which fetches one"
            )
        self._torch, transformers = _libraries()
        from models.text import decoding, int8

        name = _verified_name(directory)
        self.device = _device(self._torch, device)
        self.precision = precision if precision != "auto" else _precision(self._torch, self.device)
        self.name = name if self.precision != "int8" else f"{name}+int8"
        dtype = self._torch.bfloat16 if self.precision == "bfloat16" else self._torch.float32
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                directory,
                local_files_only=True,
                use_safetensors=True,
                dtype=dtype,
                attn_implementation=decoding.ATTENTION,
            )
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            raise TextModelUnavailable(f"text model {directory}: cannot be loaded ({error})") from error
        model = model.to(self.device).eval()
        if self.precision == "int8":
            int8.to_int8(model)
        if self._tokenizer.eos_token_id is None:
            raise TextModelUnavailable(f"text model {directory}: its tokenizer names no end-of-text token")
        self._vocabulary_size, self._words = model.config.vocab_size, None
        rows = rows or (CUDA_ROWS if self.device == "cuda" else CPU_ROWS)
        self._sampled, self._row = decoding.sampled, decoding.Row
        self._decoders = [
            decoding.Decoder(model, self._tokenizer.eos_token_id, rows, self.device) for _ in range(threads)
        ]
        self._special = [token for token in self._tokenizer.all_special_tokens if token]

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        """See TextGenerator. What stands before a prompt's last message (instruction, examples) is read once and kept.

        A text depends on its prompt and the seed, not on what else is asked for, but for the rounding of sums: between two
        words that are as good as equally likely, another batch may choose the other one (in int8 sooner than in float32).
        """
        rows = [self._new_row(prompt, limits, seed) for prompt in prompts]
        order = sorted(range(len(rows)), key=lambda index: (rows[index].prefix, -len(rows[index].rest)))
        shares = [[rows[index] for index in order[n :: len(self._decoders)]] for n in range(len(self._decoders))]
        with _turn(limits.deadline) as mine:
            if mine and len(self._decoders) == 1:
                self._run(self._decoders[0], rows, limits)
            elif mine:
                with ThreadPoolExecutor(len(self._decoders), thread_name_prefix="text-local") as pool:
                    list(pool.map(self._run, self._decoders, shares, repeat(limits)))
        written = [self._generation(row, limits.stop) for row in rows]
        TEXT_TOKENS.labels("local").inc(sum(generation.tokens for generation in written))
        return written

    def _run(self, decoder: Any, rows: Sequence[Any], limits: Limits) -> None:
        with _one_thread(self._torch), self._torch.inference_mode():
            for _ in decoder.write(rows, limits.deadline, limits.gone):
                continue

    def _new_row(self, prompt: Prompt, limits: Limits, seed: int) -> Any:
        prefix, rest = self._encode(prompt)
        choose = None
        if limits.temperature > 0:
            digest = hashlib.sha256(repr((seed, prefix, rest)).encode()).digest()
            choose = self._sampled(limits.temperature, int.from_bytes(digest[:7]), self.device)
        constraint = self._constraint(prompt.pattern) if prompt.pattern else None
        return self._row(prefix, rest, limits.max_tokens, self._ended(limits.stop), choose, constraint)

    def _constraint(self, pattern: str) -> Any:
        from models.text.constrained import Constraint, vocabulary

        if self._words is None:
            self._words = vocabulary(self._tokenizer, self._vocabulary_size)
        return Constraint(self._words, pattern)

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

    def _ended(self, stop: tuple[str, ...]) -> Callable[[list[int]], bool]:
        """Whether a text ends: its last tokens hold one of `stop`."""
        most = max((len(mark.encode()) for mark in stop), default=0) + 2

        def ended(ids: list[int]) -> bool:
            text = self._tokenizer.decode(ids[-most:]) if stop else ""
            return any(mark in text for mark in stop)

        return ended

    def _generation(self, row: Any, stop: tuple[str, ...]) -> Generation:
        text = self._tokenizer.decode(row.ids, skip_special_tokens=True)
        cuts = [text.index(mark) for mark in stop if mark in text]
        return Generation(text[: min(cuts)] if cuts else text, len(row.ids), row.finish or "deadline")


def _libraries() -> tuple[Any, Any]:
    """torch and transformers, told to stay quiet and never to look anything up."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


@contextmanager
def _turn(deadline: float | None) -> Iterator[bool]:
    """Waits until no other generation runs; False where the deadline (of time.monotonic()) passed before."""
    mine = _TORCH.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic()))
    try:
        yield mine
    finally:
        if mine:
            _TORCH.release()


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


def _precision(torch: Any, device: str) -> Precision:
    """What the hardware multiplies itself; a CPU that does not multiply bfloat16 is four times faster in float32."""
    from models.text import int8

    if device == "cuda":
        return "bfloat16"
    able = torch.cpu.get_capabilities()
    return "int8" if int8.pays() else "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"


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
