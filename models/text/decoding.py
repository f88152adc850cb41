"""Greedy and sampled decoding with continuous batching over a prefix that is read once.

Prompts that begin alike (instruction and examples) share the keys and values of that beginning: they are held once, not
once a row, and every step multiplies with them once for the whole batch (Juravsky et al., "Hydragen", 2024). A text that
ends leaves the batch, and waiting prompts take its place (Yu et al., "Orca", OSDI 2022).

Imports torch: import it only where a model is loaded.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.nn.functional import softmax
from transformers import AttentionInterface

from core.errors import TextModelUnavailable
from models.text.constrained import Constraint

ATTENTION = "headwater"
MAX_PREFIXES = 16  # instructions with examples whose reading is kept; some 50 kB a token at 135M parameters
REFILL_SHARE = 4  # a quarter of the rows is free before prompts are read: reading several at once costs little more

Choose = Callable[[torch.Tensor], int]  # logits (vocabulary,) float -> the next token
Prefix = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values (heads, tokens, head size) of each layer


@dataclass(slots=True)
class Row:
    """A text being written. `choose` None takes the likeliest token; `ended` (given the tokens so far) ends it early. With
    a `constraint` it is of the tokens that this allows."""

    prefix: tuple[int, ...]
    rest: tuple[int, ...]
    max_tokens: int
    ended: Callable[[list[int]], bool]
    choose: Choose | None = None
    constraint: Constraint | None = None
    ids: list[int] = field(default_factory=list)
    gap: int = 0  # places left free before `rest`, so that rows that are read together end together
    finish: Literal["stop", "length", "deadline", ""] = ""


class Memory:
    """Keys and values of the rows in flight: of a shared prefix, and of up to `capacity` further tokens a row."""

    def __init__(self, prefix: Prefix, rows: int, capacity: int) -> None:
        self._prefix, self._rows, self._capacity = prefix, rows, capacity
        self._own: dict[
            int, tuple[torch.Tensor, torch.Tensor]
        ] = {}  # of each layer, (rows, heads, capacity, head size)
        self.prefix_tokens = prefix[0][0].shape[1] if prefix else 0

    def at(self, first: int, starts: Sequence[int], gaps: Sequence[int], width: int, device: str) -> torch.Tensor:
        """The next forward pass is of rows `first`, first + 1, ..., each with `width` tokens from place `start` on, of which
        the first `gap` places hold none. Returns the tokens' positions (R, width)."""
        self._slots = slice(first, first + len(starts))
        self._seen = max(starts) + width
        self._row_ix = torch.arange(first, first + len(starts), device=device)[:, None]
        self._places = torch.tensor(starts, device=device)[:, None] + torch.arange(width, device=device)
        gap, place = torch.tensor(gaps, device=device)[:, None, None], self._places[:, :, None]
        seen = torch.arange(self._seen, device=device)
        # A gap reads gaps: nothing reads it, but a softmax over nothing is no number.
        hidden = (seen > place) | ((seen < gap) & (place >= gap))
        self._hidden = hidden[:, None, None]  # (R, 1, 1, width, seen)
        return (self._places - gap[:, :, 0] + self.prefix_tokens).clamp_min_(0)

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
        """Store k and v (R, kv heads, T, head size), and let q (R, heads, T, head size) read all that its rows have.

        Returns (R, T, heads, head size).
        """
        rows, heads, width, size = q.shape
        if layer not in self._own:
            empty = k.new_zeros(self._rows, k.shape[1], self._capacity, size)
            self._own[layer] = (empty, torch.zeros_like(empty))
        keys, values = self._own[layer]
        keys[self._row_ix, :, self._places] = k.transpose(1, 2)
        values[self._row_ix, :, self._places] = v.transpose(1, 2)
        keys, values = keys[self._slots, :, : self._seen], values[self._slots, :, : self._seen]
        kv_heads = k.shape[1]
        queries = (q * scaling).reshape(rows, kv_heads, -1, size)  # (R, kv heads, group * T, head size)
        own = queries @ keys.transpose(2, 3)
        own.view(rows, kv_heads, -1, width, self._seen).masked_fill_(self._hidden, float("-inf"))
        if not self._prefix:
            read = softmax(own, -1, dtype=torch.float32).to(q.dtype) @ values
        else:
            shared_k, shared_v = self._prefix[layer]
            flat = queries.transpose(0, 1).reshape(kv_heads, -1, size)
            before = (flat @ shared_k.transpose(1, 2)).view(kv_heads, rows, -1, self.prefix_tokens).transpose(0, 1)
            weights = softmax(torch.cat((before, own), -1), -1, dtype=torch.float32).to(q.dtype)
            of_prefix = weights[..., : self.prefix_tokens].transpose(0, 1).reshape(kv_heads, -1, self.prefix_tokens)
            read = weights[..., self.prefix_tokens :] @ values
            read += (of_prefix @ shared_v).view(kv_heads, rows, -1, size).transpose(0, 1)
        return read.view(rows, heads, width, size).transpose(1, 2)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Row `target` becomes row `source`, which has so many tokens."""
        for keys, values in self._own.values():
            keys[target, :, :tokens] = keys[source, :, :tokens]
            values[target, :, :tokens] = values[source, :, :tokens]

    def row(self, layers: int, tokens: int) -> Prefix:
        """The keys and values of the first row, as a prefix for others."""
        return [tuple(part[0, :, :tokens].clone() for part in self._own[layer]) for layer in range(layers)]  # type: ignore[misc]


def _attention(
    module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, *, scaling: float, memory: Memory, **other: Any
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """transformers' attention interface over a Memory."""
    if other.get("softcap") is not None or other.get("s_aux") is not None:
        raise TextModelUnavailable(
            "the text model's attention has soft caps or sinks, which this process cannot compute; serve it elsewhere and set "
            "HEADWATER_TEXT_ENDPOINT, or choose another HEADWATER_TEXT_MODEL"
        )
    return memory.attend(module.layer_idx, q, k, v, scaling), None


AttentionInterface.register(ATTENTION, _attention)


class Decoder:
    """Writes with one model (loaded with `attn_implementation=ATTENTION`), up to `rows` texts at once."""

    def __init__(self, model: Any, end: int, rows: int, device: str) -> None:
        self._model, self._end, self._most, self._device = model, end, rows, device
        self._layers: int = model.config.num_hidden_layers
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def write(
        self, rows: Sequence[Row], deadline: float | None = None, gone: Callable[[], bool] | None = None
    ) -> Iterator[None]:  # fmt: skip
        """Fill in the tokens of `rows`, one step at a time; ends when each has a `finish`.

        Past `deadline` (time.monotonic()), or once `gone` says so, what is not finished stays as it is, with the finish
        "deadline".
        """
        groups: dict[tuple[int, ...], list[Row]] = {}
        for row in sorted(rows, key=lambda row: -len(row.rest)):
            groups.setdefault(row.prefix, []).append(row)
        for prefix, group in groups.items():
            yield from self._group(prefix, deque(group), deadline, gone)

    def _group(
        self, prefix: tuple[int, ...], waiting: deque[Row], deadline: float | None, gone: Callable[[], bool] | None
    ) -> Iterator[None]:  # fmt: skip
        """Rows of one prefix: those that are being written are rows 0, 1, ... of the memory."""
        most = min(self._most, len(waiting))
        capacity = max(len(row.rest) + row.max_tokens for row in waiting)
        memory = Memory(self.read(prefix), most, capacity)
        active: list[Row] = []
        while waiting or active:
            if (deadline is not None and time.monotonic() >= deadline) or (gone is not None and gone()):
                for row in (*active, *waiting):
                    row.finish = "deadline"
                return
            free = most - len(active)
            some = min(len(waiting), max(1, most // REFILL_SHARE))
            if waiting and free >= some:
                fresh = [waiting.popleft() for _ in range(some)]
                width = max(len(row.rest) for row in fresh)
                for row in fresh:
                    row.gap = width - len(row.rest)
                logits = self._forward(
                    memory, len(active), [row.rest for row in fresh], [0] * some, [row.gap for row in fresh]
                )
                active += fresh
                self._choose(fresh, logits)
            else:
                starts = [row.gap + len(row.rest) + len(row.ids) - 1 for row in active]
                logits = self._forward(memory, 0, [row.ids[-1:] for row in active], starts, [row.gap for row in active])
                self._choose(active, logits)
            self._skip(active, memory)
            self._leave(active, memory)
            yield

    def _skip(self, active: Sequence[Row], memory: Memory) -> None:
        """Where a constraint leaves no choice for several tokens, they are read at once like a prompt."""
        for index, row in enumerate(active):
            while row.constraint is not None and not row.finish:
                forced, whole = row.constraint.forced()
                if not forced:
                    break
                start = row.gap + len(row.rest) + len(row.ids) - 1
                left = row.max_tokens - len(row.ids)
                if whole or len(forced) > left:  # nothing is chosen after them: they need not be read
                    row.finish = "stop" if len(forced) <= left else "length"
                    row.ids += forced[:left]
                    break
                logits = self._forward(memory, index, [[row.ids[-1], *forced]], [start], [row.gap])
                row.ids += forced
                self._choose([row], logits)

    def read(self, prefix: tuple[int, ...]) -> Prefix:
        """The keys and values of a prefix; the last few are kept."""
        if not prefix:
            return []
        if prefix not in self._prefixes:
            while len(self._prefixes) >= MAX_PREFIXES:
                self._prefixes.popitem(last=False)
            memory = Memory([], 1, len(prefix))
            self._forward(memory, 0, [prefix], [0], [0])
            self._prefixes[prefix] = memory.row(self._layers, len(prefix))
        self._prefixes.move_to_end(prefix)
        return self._prefixes[prefix]

    def _forward(
        self, memory: Memory, first: int, tokens: Sequence[Sequence[int]], starts: Sequence[int], gaps: Sequence[int]
    ) -> torch.Tensor:
        """Logits (R, vocabulary) float32 after the last token of each row."""
        width = max(map(len, tokens))
        ids = torch.tensor([[*[self._end] * (width - len(row)), *row] for row in tokens], device=self._device)
        places = memory.at(first, starts, gaps, width, self._device)
        output = self._model(ids, position_ids=places, use_cache=False, memory=memory, logits_to_keep=1)
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        likeliest = logits.argmax(-1).tolist()
        for index, row in enumerate(rows):
            token = likeliest[index]
            if row.constraint is not None or row.choose is not None:
                mine = logits[index] if row.constraint is None else row.constraint.masked(logits[index])
                token = int(mine.argmax()) if row.choose is None else row.choose(mine)
            if token == self._end or len(row.ids) >= row.max_tokens:
                row.finish = "stop" if token == self._end else "length"
                continue
            row.ids.append(token)
            whole = row.constraint is not None and row.constraint.took(token)
            if whole or row.ended(row.ids):
                row.finish = "stop"
            elif len(row.ids) >= row.max_tokens:
                row.finish = "length"

    def _leave(self, active: list[Row], memory: Memory) -> None:
        """Take finished rows out; the last row takes the place of each."""
        for index in range(len(active) - 1, -1, -1):
            if active[index].finish:
                last = active.pop()
                if index < len(active):
                    memory.move(len(active), index, last.gap + len(last.rest) + len(last.ids))
                    active[index] = last


def sampled(temperature: float, seed: int, device: str) -> Choose:
    """Draws from the distribution at `temperature`; a stream of its own, so that who else is in the batch changes nothing."""
    random = torch.Generator(device).manual_seed(seed)

    def choose(logits: torch.Tensor) -> int:
        return int(torch.multinomial(softmax(logits / temperature, -1), 1, generator=random))

    return choose
