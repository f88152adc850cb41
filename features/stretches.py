"""What happened since some moment, with as much of the histories around it as counting steps needs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from core.store.tails import TailStore
from features.interactions import Interactions

NAMES = ["key", "user", "item", "kind", "value", "time", "fresh"]
TYPES = {
    "key": pa.string(), "user": pa.string(), "item": pa.string(), "kind": pa.string(), "value": pa.float64(),
    "time": pa.int64(), "fresh": pa.int8(),
}  # fmt: skip


@dataclass(frozen=True)
class Stretches:
    """The same stretches of histories `before` and `after` the `fresh` interactions came; `newest_us`, of these."""

    before: Interactions
    after: Interactions
    fresh: int
    newest_us: int


def read_stretches(
    tails: TailStore, from_txn: int, to_txn: int, window: int, kind_weights: Mapping[str, float]
) -> Stretches | None:
    """Those around the interactions of transactions [from_txn, to_txn), from `window` positive ones before the earliest on.

    None where there are no such interactions. Raises DatabaseUnavailable.
    """
    out = io.BytesIO()
    tails.copy_stretches(from_txn, to_txn, window, [kind for kind, weight in kind_weights.items() if weight <= 0], out)
    if out.tell() == 0:
        return None
    out.seek(0)
    table = pyarrow.csv.read_csv(
        out,
        read_options=pyarrow.csv.ReadOptions(column_names=NAMES),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=TYPES, strings_can_be_null=False),
    )
    fresh = table["fresh"].to_numpy() == 1
    newest_us = int(table["time"].to_numpy()[fresh].max())
    known = _interactions(table.filter(pa.array(~fresh)), kind_weights)
    return Stretches(known, _interactions(table, kind_weights), int(fresh.sum()), newest_us)


def _interactions(table: pa.Table, kind_weights: Mapping[str, float]) -> Interactions:
    return Interactions.from_columns(
        table["user"],
        table["item"],
        table["time"].to_numpy() / 1e6,
        table["kind"],
        table["value"].to_numpy(),
        kind_weights,
        _words(table["key"]),
    )


def _words(keys: pa.ChunkedArray) -> NDArray[np.uint64]:
    """UUIDs as (n, 2) words in the order of their bytes, which is Postgres' and the snapshot's."""
    joined = bytes.fromhex("".join(keys.to_pylist()).replace("-", ""))
    return np.frombuffer(joined, dtype=">u8").reshape(-1, 2).astype(np.uint64)
