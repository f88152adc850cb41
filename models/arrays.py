"""Arrays as they lie on disk, read so that others have their turn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

READ_AT_ONCE = 1 << 20  # numbers


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file of safetensors, by name, some megabytes at a time: while it reads, no other thread runs.

    Raises ValueError for a file that is none, OSError for one that cannot be read.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            return {name: _read(opened, name) for name in opened.keys()}  # noqa: SIM118 -- it is no mapping
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read(opened: Any, name: str) -> NDArray[Any]:
    stored = opened.get_slice(name)
    shape = stored.get_shape()
    at_once = max(1, READ_AT_ONCE // max(1, math.prod(shape[1:])))
    if not shape or shape[0] <= at_once:
        whole: NDArray[Any] = opened.get_tensor(name)
        return whole
    found = np.empty(shape, stored[:1].dtype)
    for at in range(0, shape[0], at_once):
        found[at : at + at_once] = stored[at : min(at + at_once, shape[0])]
    return found
