"""The network of the sequence recommender: item vectors from an id and a text, and a causal transformer over them.

Blocks are pre-norm with a learned gate on each residual branch (LiGR, Borisyuk et al. 2025, "From features to transformers:
redefining ranking for scalable impact") and SwiGLU feed-forward parts (Shazeer 2020, "GLU variants improve transformer").
Attention knows places and times only relative to the one that looks, by a learned bias of each head (HSTU, Zhai et al. 2024,
"Actions speak louder than words"), so that a place is counted from the end, wherever a history is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

UNIT = 1e-6  # keeps the length of a zero vector from being divided by zero
LONGEST = 60.0  # of a query: the exponential of a score stays a number


@dataclass(frozen=True)
class Words:
    """The TF-IDF weights of the words of each item, csr: item i has indices[indptr[i]:indptr[i + 1]], with their weights."""

    indptr: Tensor  # (n_items + 1,) int64
    indices: Tensor  # (nnz,) int64
    weights: Tensor  # (nnz,) float32
    start: Tensor  # (n_words, d) float32, where the vectors of the words begin


class Items(nn.Module):
    """(n_items, d) unit vectors: a bounded vector of the id plus one of the text; of the text alone for an unknown id.

    `known` (n_items,) bool: which ids were trained on. In training a share `id_dropout` of ids is left out, of items with a
    text, so that an item that comes later lies where its text belongs (DropoutNet, Volkovs et al. 2017).
    """

    indptr: Tensor
    indices: Tensor
    weights: Tensor
    known: Tensor

    def __init__(self, start: Tensor, known: Tensor, words: Words | None, id_dropout: float) -> None:
        super().__init__()
        self.ids = nn.Parameter(start)
        self.words = None
        self.id_dropout = id_dropout
        self.register_buffer("known", known, persistent=False)
        if words is not None and len(words.indices):
            self.words = nn.Parameter(words.start)
            for name in ("indptr", "indices", "weights"):
                self.register_buffer(name, getattr(words, name), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """(m, d) of the items `rows` (m,) int64."""
        found = self.ids[rows] * self.known[rows, None]
        found = found / found.norm(dim=1, keepdim=True).clamp(min=1.0)
        if self.words is None:
            return F.normalize(found, dim=1, eps=UNIT)
        low, count = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        ends = count.cumsum(0)
        at = torch.arange(int(ends[-1]), device=rows.device) + torch.repeat_interleave(low - (ends - count), count)
        text = F.embedding_bag(
            self.indices[at], self.words, ends - count, mode="sum", per_sample_weights=self.weights[at]
        )
        if self.training and self.id_dropout:
            kept = torch.rand(len(rows), device=rows.device) >= self.id_dropout
            found = found * (kept | (count == 0))[:, None]
        return F.normalize(found + F.normalize(text, dim=1, eps=UNIT), dim=1, eps=UNIT)


class Block(nn.Module):
    """Gated causal attention, then a gated SwiGLU; both read a normalised state and add to it."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        d = config.dimensions
        self.heads, self.dropout = config.heads, config.dropout
        self.attend = nn.Linear(d, 4 * d, bias=False)  # queries, keys, values, gate
        self.mix = nn.Linear(d, d, bias=False)
        self.widen = nn.Linear(d, 5 * d, bias=False)  # both halves of SwiGLU at twice the width, gate
        self.narrow = nn.Linear(2 * d, d, bias=False)
        self.norms = nn.Parameter(torch.ones(2, d))
        # a head begins by looking at what is near, each at another scale
        slope = 2.0 ** -torch.arange(1, config.heads + 1)
        self.by_place = nn.Parameter(-slope[:, None] * torch.log2(1 + torch.arange(config.length))[None])
        self.by_time = nn.Parameter(torch.zeros(config.time_buckets, config.heads)) if config.time_buckets else None
        for linear in (self.attend, self.mix, self.widen, self.narrow):
            nn.init.normal_(linear.weight, std=d**-0.5)
        for linear in (self.mix, self.narrow):  # branches begin small
            nn.init.normal_(linear.weight, std=0.2 * linear.in_features**-0.5)

    def forward(self, state: Tensor, future: Tensor, distance: Tensor, elapsed: Tensor | None) -> Tensor:
        """(B, L, d) from the same; `distance` (L, L) int64 in places, `future` (L, L) bool, `elapsed` (B, L, L) time buckets."""
        batch, length, d = state.shape
        read = F.layer_norm(state, (d,), self.norms[0])
        query, key, value, gate = self.attend(read).split(d, dim=2)
        query, key, value = (
            part.reshape(batch, length, self.heads, -1).transpose(1, 2) for part in (query, key, value)
        )
        bias = self.by_place[:, distance].masked_fill(future, -torch.inf)  # (H, L, L)
        if elapsed is not None and self.by_time is not None:
            bias = bias + F.embedding(elapsed, self.by_time).permute(0, 3, 1, 2)  # (B, H, L, L)
        scores = (query * (d // self.heads) ** -0.5) @ key.transpose(2, 3)
        found = (scores.add_(bias).softmax(dim=3) @ value).transpose(1, 2).reshape(batch, length, d)
        state = state + self._dropped(self.mix(found) * gate.sigmoid())
        read = F.layer_norm(state, (d,), self.norms[1])
        left, right, gate = self.widen(read).split((2 * d, 2 * d, d), dim=2)
        return state + self._dropped(self.narrow(F.silu(left) * right) * gate.sigmoid())

    def _dropped(self, branch: Tensor) -> Tensor:
        return F.dropout(branch, self.dropout, self.training) if self.dropout else branch


class Network(nn.Module):
    """From the vectors of a history to the vector its next item should have, at each place of it."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.waited = nn.Parameter(torch.zeros(config.time_buckets, config.dimensions)) if config.time_buckets else None
        self.last = nn.Parameter(torch.ones(config.dimensions))
        self.log_scale = nn.Parameter(torch.full((1,), 2.5))  # the inverse temperature of the cosines, as its logarithm

    def forward(self, history: Tensor, time_s: Tensor | None) -> Tensor:
        """(B, L, d): vectors of length exp(log_scale), whose inner products with item vectors are scores.

        `history` (B, L, d) unit vectors, oldest first, padded at the end (what comes later is never read). `time_s` (B, L + 1)
        float64, where there is a clock: when each happened, and when the next was asked for.
        """
        _, length, d = history.shape
        state = F.dropout(history * d**0.5, self.config.dropout, self.training and self.config.dropout > 0)
        place = torch.arange(length, device=history.device)
        distance = place[:, None] - place[None, :]
        future, distance = distance < 0, distance.clamp(min=0)
        elapsed = None
        if time_s is not None and self.waited is not None:
            asked = time_s[:, 1:]
            state = state + F.embedding(self._bucket(asked - time_s[:, :-1]), self.waited)
            elapsed = self._bucket(asked[:, :, None] - time_s[:, None, :-1])
        for block in self.blocks:
            state = block(state, future, distance, elapsed)
        return F.normalize(state * self.last, dim=2, eps=UNIT) * self.log_scale.exp().clamp(max=LONGEST)

    def _bucket(self, gap_s: Tensor) -> Tensor:
        """Bucket b holds gaps of 2 ** b - 1 seconds and more, the last all that are longer."""
        return torch.log2(gap_s.clamp(min=0) + 1).long().clamp(max=self.config.time_buckets - 1)
