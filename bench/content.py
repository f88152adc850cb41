"""How fast texts are written, and how many of them are true: `python -m bench.content` writes docs/benchmarks/content.md.

Speed, on invented films, in one run: transformers' `generate` called once an item, and LocalGenerator in several ways.
Truth, with `--office FOLDER` (items.csv.gz: item,title,brand,description): the writer with its checks and retries over
`--limit` items drawn by a seed, all by default. What is written is kept in `--keep` as it comes, and a run that is stopped
goes on there; the page is made from that file, every text of which is checked once more.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import itertools
import json
import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.content_page import page
from core.progress import Terminal
from headwater.fetch import fetch_smollm2
from models.content.description import DESCRIPTION
from models.content.kind import PLAIN, ItemFacts
from models.content.writer import write
from models.text.generator import Generation, Limits, Prompt
from models.text.local import CPU_ROWS, CUDA_ROWS, LocalGenerator, Precision, convert_gguf

SEED = 0
MODEL = "smollm2-135m-instruct"  # as `headwater demo` calls it
CHUNK_ITEMS = 32  # kept together: what a kill can cost
LIMITS = Limits(DESCRIPTION.max_tokens, DESCRIPTION.stop)
ESCAPED = re.compile(r"\\(?=['\"])")  # the data's own escapes: 150\' x 12
PARAGRAPHS = re.compile(r"['\"],(?:\s+['\"]|\s*$)|\\n", re.MULTILINE)  # it has lists as Python prints them
LINKED = re.compile(r"Visit Amazon's (.+) Page")
FIRST = ("Amber", "Hollow", "Northern", "Paper", "Quiet", "Silver", "Twelve", "Winter")
SECOND = ("Bridges", "Coast", "Garden", "Letters", "Mirrors", "Orchard", "River", "Tides")
CATEGORIES = (
    "Action",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Horror",
    "Musical",
    "Romance",
    "Thriller",
)


@dataclass(frozen=True)
class Speed:
    """One way of writing: medians over the repeats of the same items."""

    way: str
    items: int
    repeats: int
    tokens: int
    seconds: float
    verified: int
    device: str = "cpu"

    @property
    def tokens_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def items_s(self) -> float:
        return self.items / self.seconds


def films(count: int) -> list[ItemFacts]:
    """Invented films, the same for every run."""
    names = [f"{one} {other}" for one, other in itertools.product(FIRST, SECOND)]
    draw = random.Random(SEED)
    return [
        ItemFacts.of(
            f"f{n}", f"{names[n % len(names)]}{' ' + 'I' * (n // len(names)) if n >= len(names) else ''}",
            draw.sample(CATEGORIES, draw.choice((1, 1, 2, 3))), {"type": "film", "year": draw.randint(1930, 2020)},
        )
        for n in range(count)
    ]  # fmt: skip


class OneByOne:
    """The baseline: transformers' own `generate`, once an item, as its documentation shows it."""

    def __init__(self, directory: Path, threads: int, device: str = "cpu") -> None:
        """In float32 on a CPU, in bfloat16 on a GPU."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch, self.device = torch, device
        self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=dtype)
        self._model = model.to(device).eval()

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        return [self._one(prompt, limits) for prompt in prompts]

    def _one(self, prompt: Prompt, limits: Limits) -> Generation:
        messages = [{"role": one.role, "content": one.content} for one in prompt.messages]
        asked = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self.device)
        with self._torch.inference_mode():
            answer = self._model.generate(
                **asked, max_new_tokens=limits.max_tokens, do_sample=False, pad_token_id=self._tokenizer.eos_token_id,
                stop_strings=list(limits.stop), tokenizer=self._tokenizer,
            )  # fmt: skip
        ids = answer[0, asked["input_ids"].shape[1] :].tolist()
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        return Generation(text, len(ids), "stop")


def measured(way: str, generator: Any, items: Sequence[ItemFacts], repeats: int) -> Speed:
    """Medians over `repeats`, after one item that is not counted (it reads the examples of one wording)."""
    prompts = [DESCRIPTION.prompt(item, PLAIN) for item in items]
    generator.generate(prompts[:1], LIMITS, SEED)
    seconds, written = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        written = generator.generate(prompts, LIMITS, SEED)
        seconds.append(time.perf_counter() - began)
    verified = sum(
        not DESCRIPTION.check(one.text.strip(), item, PLAIN) for one, item in zip(written, items, strict=True)
    )
    tokens = sum(one.tokens for one in written)
    return Speed(way, len(items), repeats, tokens, statistics.median(seconds), verified, generator.device)


def untrained(directory: Path, out: Path) -> Path:
    """A model of the same shape with random weights, made of its configuration and tokenizer alone: for speed, where the
    weights themselves cannot be brought. What it writes is nonsense, and as long as is allowed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(SEED)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(directory, local_files_only=True).save_pretrained(out)
    return out


def speeds(directory: Path, items: int, alone: int, repeats: int) -> Iterator[Speed]:
    """Every way, one after the other, on a GPU too where there is one; the baseline on the first `alone` items."""
    import torch

    some = films(items)
    if torch.cuda.is_available():
        baseline = OneByOne(directory, 1, "cuda")
        yield measured("transformers' `generate` once an item, bfloat16, GPU", baseline, some[:alone], 1)
        del baseline
        for rows in (CPU_ROWS, CUDA_ROWS):
            generator = LocalGenerator(directory, "cuda", rows=rows)
            yield measured(f"{rows} rows, {generator.precision}, GPU", generator, some, repeats)
    for threads in (1, 2):
        yield measured(
            f"transformers' `generate` once an item, float32, {threads} thread{'s' * (threads > 1)}",
            OneByOne(directory, threads), some[:alone], 1,
        )  # fmt: skip
    ways: list[tuple[str, Precision, int, int]] = [
        ("one row", "float32", 1, 1), ("32 rows", "float32", 32, 1), ("32 rows", "int8", 32, 1), ("32 rows", "int8", 32, 2),
    ]  # fmt: skip
    for what, precision, rows, threads in ways:
        generator = LocalGenerator(directory, "cpu", rows=rows, threads=threads, precision=precision)
        name = f"{what}, {precision}, {threads} thread{'s' * (threads > 1)}"
        yield measured(name, generator, some if rows > 1 else some[:alone], 1 if rows == 1 else repeats)


def office_items(folder: Path, limit: int | None) -> list[ItemFacts]:
    """The items of a folder, in an order drawn by the seed."""
    with gzip.open(folder / "items.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(SEED).shuffle(rows)
    return [
        ItemFacts.of(
            row["item"], row["title"], (), {"type": "product"} | ({"brand": brand} if (brand := _brand(row["brand"])) else {}),
            PARAGRAPHS.sub("\n", ESCAPED.sub("", row["description"])),
        )
        for row in rows[:limit]
    ]  # fmt: skip


def _brand(said: str) -> str:
    """Of some, the data has the label of a link instead of the brand: "Visit Amazon's Rotring Page"."""
    found = LINKED.fullmatch(said)
    return found[1] if found else said


class Free:
    """A generator that is not held to a pattern."""

    def __init__(self, generator: LocalGenerator) -> None:
        self._generator, self.name = generator, f"{generator.name}, free"

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        return self._generator.generate([replace(prompt, pattern="") for prompt in prompts], limits, seed)


def asked_of(item: ItemFacts) -> str:
    """A hash of what the model is asked about an item: whatever changes in the prompts or in the choice of facts, it changes.

    Made of a copy, so that nothing that is derived here is spared in the measuring.
    """
    prompt = DESCRIPTION.prompt(replace(item), PLAIN) if DESCRIPTION.writable(item, PLAIN) is None else ""
    return hashlib.sha256(repr((DESCRIPTION.prompt_hash, prompt)).encode()).hexdigest()[:12]


def write_office(generator: Any, items: Sequence[ItemFacts], keep: Path) -> list[dict[str, Any]]:
    """Rows of what was written of `items`; those already in `keep`, by this generator from this very prompt, are not written
    again."""
    rows = [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()] if keep.exists() else []
    by = {item.item: f"{generator.name} {asked_of(item)}" for item in items}
    done = {row["item"]: row for row in rows if row["by"] == by.get(row["item"])}
    waiting = [item for item in items if item.item not in done]
    with Terminal().task("writing", len(waiting)) as task:
        for start in range(0, len(waiting), CHUNK_ITEMS):
            chunk = waiting[start : start + CHUNK_ITEMS]
            began, cpu = time.perf_counter(), time.process_time()
            written = write(DESCRIPTION, chunk, generator, seed=SEED)
            seconds, cpu_s = (time.perf_counter() - began) / len(chunk), (time.process_time() - cpu) / len(chunk)
            fresh = [
                {
                    "item": one.item, "by": by[one.item], "text": one.text, "origin": one.origin, "attempts": one.attempts,
                    "note": one.note, "seconds": seconds, "cpu_s": cpu_s,
                }
                for one in written
            ]  # fmt: skip
            with keep.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in fresh)
            done |= {row["item"]: row for row in fresh}
            task.advance(len(chunk))
    return [done[item.item] for item in items]


def main() -> None:
    """Run what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory; by default the demo's small model, fetched")
    parser.add_argument(
        "--untrained",
        type=Path,
        help="write a model of the shape of --model with random weights here, and measure its speed",
    )
    parser.add_argument("--home", type=Path, default=Path(".headwater"), help="where the demo's model is kept")
    parser.add_argument("--items", type=int, default=128, help="films in the comparison of speed; 0 leaves it out")
    parser.add_argument("--alone", type=int, default=16, help="films written one by one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--office", type=Path, help="folder with items.csv.gz")
    parser.add_argument("--limit", type=int, help="items of the office folder; all by default")
    parser.add_argument("--free", type=int, default=96, help="of these, how many are also written without a pattern")
    parser.add_argument("--keep", type=Path, default=Path(".headwater/bench-content.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/content.md"))
    asked = parser.parse_args()
    home, reporter = asked.home, Terminal()
    directory = asked.model or convert_gguf(fetch_smollm2(home, reporter), home / "text-models" / MODEL, reporter)
    if asked.untrained:
        directory = untrained(directory, asked.untrained)
    rows: list[Speed] = []
    for row in speeds(directory, asked.items, asked.alone, asked.repeats) if asked.items else ():
        rows.append(row)
        print(
            f"{row.way}: {row.tokens_s:.1f} tokens/s, {row.items_s:.2f} items/s, {row.verified} of {row.items} verified"
        )
    held: list[dict[str, Any]] = []
    free: list[dict[str, Any]] = []
    items: list[ItemFacts] = []
    if asked.office:
        items = office_items(asked.office, asked.limit)
        generator = LocalGenerator(directory, threads=2)
        asked.keep.parent.mkdir(parents=True, exist_ok=True)
        free = write_office(Free(generator), items[: asked.free], asked.keep)
        held = write_office(generator, items, asked.keep)
    text = page(rows, items, held, free)
    asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
