"""Arrays as they lie on disk, each byte moved once, and so that others have their turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

CHECKED_AT_ONCE = 1 << 18  # numbers
LENGTH_BYTES = 8  # of the number that a file of safetensors begins with: how long its header is
KINDS = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file of safetensors, by name. Others run while it reads.

    safetensors judges the header; the bytes come straight from the file, in a third of the time that its copies take.
    Raises ValueError for a file that is none, OSError for one that cannot be read.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            order = opened.offset_keys()  # they lie one after the other, with nothing in between
            made = {name: _empty(opened.get_slice(name)) for name in order}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    with file.open("rb", buffering=0) as raw:
        raw.seek(LENGTH_BYTES + int.from_bytes(raw.read(LENGTH_BYTES), "little"))
        for name, array in made.items():
            left = array.reshape(-1).view(np.uint8).data
            while len(left):
                got = raw.readinto(left)
                if not got:
                    raise ValueError(f"{file} ends within {name!r}")
                left = left[got:]
    return made


def finite(array: NDArray[Any]) -> bool:
    """Whether all of it is, without a mask of the whole: memory that is new costs more than looking."""
    if array.dtype.kind in "iub":
        return True
    flat = array.reshape(-1)
    return all(bool(np.isfinite(flat[at : at + CHECKED_AT_ONCE]).all()) for at in range(0, len(flat), CHECKED_AT_ONCE))


def rows_fit(indptr: NDArray[Any], indices: NDArray[Any], n: int) -> bool:
    """Whether these, of (n + 1,) and (m,), are the rows of a csr matrix of n columns."""
    within = not len(indices) or bool(indices.min() >= 0 and indices.max() < n)
    return within and bool(indptr[0] == 0 and (indptr[:-1] <= indptr[1:]).all())


def _empty(stored: Any) -> NDArray[Any]:
    kind = KINDS.get(stored.get_dtype())
    if kind is None:
        raise ValueError(f"{stored.get_dtype()} is no kind of number that models are made of")
    return np.empty(stored.get_shape(), kind)
