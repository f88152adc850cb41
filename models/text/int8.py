"""Linear layers in 8 bits for CPUs that multiply them in hardware: weights a channel, activations a row.

LLM.int8()'s vector-wise quantization without its outliers kept apart (Dettmers et al., 2022). A row is scaled by itself,
whoever else is in the batch. Imports torch.
"""

from __future__ import annotations

from typing import Any

import torch

STEPS = 127.0
TINY = 1e-8  # keeps a row of zeros from a division by zero


class _Rows:
    """Quantizes activations; layers that read the same ones (queries, keys, values) share the result."""

    def __init__(self) -> None:
        self._made: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, width) int8 and the scale (rows, 1) of each row."""
        made = self._made  # read once: another thread may set it meanwhile
        if made is None or made[0] is not x:
            flat = x.reshape(-1, x.shape[-1])
            scale = flat.abs().amax(-1, keepdim=True).clamp_min_(TINY).div_(STEPS)
            made = self._made = x, (flat / scale).round_().to(torch.int8), scale
        return made[1], made[2]


class Int8Linear(torch.nn.Module):
    """A linear layer of 8-bit weights; computes in float32 otherwise."""

    def __init__(self, linear: torch.nn.Linear, rows: _Rows) -> None:
        super().__init__()
        weight = linear.weight.detach().float()  # (out, in)
        scale = weight.abs().amax(1, keepdim=True).clamp_min_(TINY).div_(STEPS)
        self._weight = (weight / scale).round_().to(torch.int8).t()  # (in, out), laid out by channel
        self._scale = scale.view(1, -1)
        self._bias = None if linear.bias is None else linear.bias.detach().float()
        self._rows = rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) float32 -> (..., out) float32."""
        rows, scale = self._rows(x)
        y = torch._int_mm(rows, self._weight).to(torch.float32).mul_(scale).mul_(self._scale)
        if self._bias is not None:
            y += self._bias
        return y.view(*x.shape[:-1], -1)


def to_int8(model: Any) -> None:
    """Replace every linear layer of a float32 model on the CPU, in place."""
    rows = _Rows()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(module, name, Int8Linear(child, rows))


def pays() -> bool:
    """Whether this CPU multiplies 8-bit integers in hardware (VNNI or AMX)."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_vnni") or able.get("avx_vnni") or able.get("amx_int8"))
