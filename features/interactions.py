"""Who did what with which item, and when, as arrays. External ids become row indices here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice, repeat
from pathlib import Path
from typing import Any, Self, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from scipy import sparse

from core.errors import InvalidRequest, NotFound
from core.settings import DEFAULT_KIND_WEIGHTS

UNNAMED_KIND = "interaction"
AT_ONCE = 10_000  # ids looked up or noted: some milliseconds, after which other threads have their turn
Column: TypeAlias = "Sequence[Any] | NDArray[Any] | pa.Array | pa.ChunkedArray"


def rows_of(row_of: Mapping[str, int], externals: Collection[str] | NDArray[np.object_]) -> NDArray[np.int32]:
    """The rows (m,) int32 of many ids, -1 where unknown."""
    found, n = map(row_of.get, externals, repeat(-1)), len(externals)
    if n <= AT_ONCE:
        return np.fromiter(found, np.int32, n)
    rows = np.empty(n, np.int32)
    for at in range(0, n, AT_ONCE):
        rows[at : at + AT_ONCE] = np.fromiter(islice(found, AT_ONCE), np.int32)
    return rows


def union_of(tables: Sequence[NDArray[np.object_]]) -> NDArray[np.object_]:
    """All the ids of these ascending arrays, ascending: the very array that holds all of them where there is one."""
    whole = max(tables, key=len)
    if not np.less(whole[:-1], whole[1:], dtype=bool).all():
        return np.array(sorted({one for table in tables for one in table.tolist()}), np.object_)
    for table in {id(one): one for one in tables}.values():
        if np.count_nonzero(IdTable(table).rows(whole) >= 0) < len(table):
            missing = np.unique(table[IdTable(whole).rows(table) < 0])
            whole = np.insert(whole, np.searchsorted(whole, missing), missing)
    return whole


class _RowOf(dict[str, int]):
    """Rows by id, for all tables of the same array, which it keeps: of a million ids it takes 0.2 s and 100 MB."""

    ids: NDArray[np.object_]


_row_of: WeakValueDictionary[int, _RowOf] = WeakValueDictionary()  # by the array's address


@dataclass(frozen=True)
class IdTable:
    """External ids (n,) of str by row index, and back. The array is not to be changed afterwards."""

    ids: NDArray[np.object_]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        found = _row_of.get(id(self.ids))
        if found is None:
            found = _RowOf()
            for at in range(0, len(self.ids), AT_ONCE):
                found.update(zip(self.ids[at : at + AT_ONCE].tolist(), count(at)))
            found.ids = self.ids
            _row_of[id(self.ids)] = found
        return found

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, external: str) -> int:
        """The row of one id, -1 when unknown."""
        return self._row_of.get(external, -1)

    def rows(self, externals: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int32]:
        """The rows (m,) int32 of many ids, -1 where unknown."""
        if externals is self.ids:
            return np.arange(len(self.ids), dtype=np.int32)
        return rows_of(self._row_of, externals)


@dataclass(frozen=True)
class Interactions:
    """n interactions, sorted by user, then time, then their key: the same whatever order they arrived in.

    `user_ids` (n_users,) and `item_ids` (n_items,) are str objects in ascending order; `user_ix`, `item_ix` (n,) int32
    are rows of them; `time_s` (n,) float64 seconds since the epoch; `weight` (n,) float32 says how much the user wants
    the item (zero and below: not a sign of interest); `kind_ix` (n,) int16 are positions in `kinds`.
    """

    user_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    user_ix: NDArray[np.int32]
    item_ix: NDArray[np.int32]
    time_s: NDArray[np.float64]
    weight: NDArray[np.float32]
    kind_ix: NDArray[np.int16]
    kinds: tuple[str, ...]

    @classmethod
    def from_columns(
        cls,
        users: Column,
        items: Column,
        time_s: NDArray[np.float64] | Sequence[float],
        kinds: Column | None = None,
        values: NDArray[np.float64] | Sequence[float] | None = None,
        kind_weights: Mapping[str, float] = DEFAULT_KIND_WEIGHTS,
        keys: NDArray[Any] | None = None,
    ) -> Self:
        """Build from n external ids, times (seconds) and, where known, kinds and values.

        A kind missing from `kind_weights` weighs 1. A negative value (a refund, a thumb down) turns the weight
        negative; other values do not scale it, for their units differ by kind. `keys` (n,), or (n, m) with several
        columns, breaks ties of time; rows equal in user, time and key are one interaction. Without keys, ties are
        broken by item, kind and weight, and nothing is dropped.
        """
        user_ix, user_ids = _encode(users)
        item_ix, item_ids = _encode(items)
        times = np.asarray(time_s, dtype=np.float64)
        if not len(user_ix) == len(item_ix) == len(times):
            raise InvalidRequest(
                f"columns differ in length: {len(user_ix)} users, {len(item_ix)} items, {len(times)} times"
            )
        if not np.isfinite(times).all():
            raise InvalidRequest("a time is not a finite number of seconds")
        kind_ix, kind_names = _encode(kinds) if kinds is not None else _one_kind(len(times))
        weight = np.array([kind_weights.get(str(k), 1.0) for k in kind_names], dtype=np.float32)[kind_ix]
        if values is not None:
            refused = np.asarray(values, dtype=np.float64) < 0  # NaN, an absent value, compares False
            weight = np.where(refused, -np.abs(weight), weight).astype(np.float32)
        order, repeated = _order(user_ix, item_ix, times, kind_ix, weight, keys)
        order = order[~repeated]
        return cls(
            user_ids, item_ids, user_ix[order], item_ix[order], times[order],
            weight[order], kind_ix[order].astype(np.int16), tuple(kind_names.tolist()),
        )  # fmt: skip

    @classmethod
    def from_parquet(
        cls, source: Path | Sequence[Path], kind_weights: Mapping[str, float] = DEFAULT_KIND_WEIGHTS
    ) -> Self:
        """Read snapshot segments: a folder of *.parquet (searched in depth) or the files themselves.

        Columns: user, item, kind (string), value (double, may be null), time (timestamp[us, UTC]) and key (16 bytes,
        the event's identity): an interaction found in two segments counts once.
        """
        paths = sorted(source.rglob("*.parquet")) if isinstance(source, Path) else list(source)
        columns = ["user", "item", "kind", "value", "time", "key"]
        if not paths:
            return cls.from_columns([], [], [], kind_weights=kind_weights)
        table = pa.concat_tables([pa.parquet.read_table(path, columns=columns, partitioning=None) for path in paths])
        return cls.from_columns(
            table["user"],
            table["item"],
            table["time"].cast(pa.int64()).to_numpy() / 1e6,
            table["kind"],
            table["value"].cast(pa.float64()).to_numpy(),
            kind_weights,
            _key_words(table["key"]),
        )

    @classmethod
    def from_folder(cls, folder: Path, kind_weights: Mapping[str, float] = DEFAULT_KIND_WEIGHTS) -> Self:
        """Read `interactions.csv.gz` (user,item,timestamp[,kind][,value]); lines break ties of time by their order.

        Raises NotFound when the folder has no such file.
        """
        path = folder / "interactions.csv.gz"
        if not path.is_file():
            raise NotFound(f"{path} does not exist; expected columns user,item,timestamp[,kind][,value]")
        kinds = {
            "user": pa.string(),
            "item": pa.string(),
            "timestamp": pa.float64(),
            "kind": pa.string(),
            "value": pa.float64(),
        }
        table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=kinds))
        return cls.from_columns(
            table["user"],
            table["item"],
            table["timestamp"].to_numpy(),
            table["kind"] if "kind" in table.column_names else None,
            table["value"].to_numpy() if "value" in table.column_names else None,
            kind_weights,
            np.arange(len(table)),
        )

    def __len__(self) -> int:
        return len(self.user_ix)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @cached_property
    def users(self) -> IdTable:
        """User ids and rows."""
        return IdTable(self.user_ids)

    @cached_property
    def items(self) -> IdTable:
        """Item ids and rows."""
        return IdTable(self.item_ids)

    def user_row(self, external: str) -> int:
        """The row of a user, -1 when unknown."""
        return self.users.row(external)

    def item_row(self, external: str) -> int:
        """The row of an item, -1 when unknown."""
        return self.items.row(external)

    @cached_property
    def indptr(self) -> NDArray[np.int64]:
        """(n_users + 1,) int64: the interactions of user u are indptr[u]:indptr[u + 1]."""
        return np.searchsorted(self.user_ix, np.arange(self.n_users + 1)).astype(np.int64)

    def positives(self) -> Interactions:
        """Those with a weight above zero; every user and item keeps its row."""
        wanted = self.weight > 0
        return self if wanted.all() else self._rows(wanted, self.user_ids, self.item_ids, self.user_ix, self.item_ix)

    def matrix(self) -> sparse.csr_matrix:
        """(n_users, n_items) float32: the sum of the positive weights."""
        kept = self.positives()
        shape = (self.n_users, self.n_items)
        return sparse.csr_matrix((kept.weight, (kept.user_ix, kept.item_ix)), shape=shape, dtype=np.float32)

    def sequences(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Positive histories, oldest first: indptr (n_users + 1,), items (m,) int32 and times (m,) in seconds."""
        kept = self.positives()
        return kept.indptr, kept.item_ix, kept.time_s

    def keep(self, mask: NDArray[np.bool_]) -> Interactions:
        """Those where `mask` (n,) is true, with new rows: a user or item seen only elsewhere leaves no trace."""
        users, items = np.unique(self.user_ix[mask]), np.unique(self.item_ix[mask])
        new_user, new_item = np.zeros(self.n_users, np.int32), np.zeros(self.n_items, np.int32)
        new_user[users], new_item[items] = np.arange(len(users)), np.arange(len(items))
        return self._rows(
            mask, self.user_ids[users], self.item_ids[items], new_user[self.user_ix], new_item[self.item_ix]
        )

    def before(self, cut_time_s: float) -> Interactions:
        """What was known just before `cut_time_s`, and nothing of what came later, ids included."""
        return self.keep(self.time_s < cut_time_s)

    def _rows(
        self,
        mask: NDArray[np.bool_],
        user_ids: NDArray[np.object_],
        item_ids: NDArray[np.object_],
        user_ix: NDArray[np.int32],
        item_ix: NDArray[np.int32],
    ) -> Interactions:
        return Interactions(
            user_ids, item_ids, user_ix[mask], item_ix[mask], self.time_s[mask],
            self.weight[mask], self.kind_ix[mask], self.kinds,
        )  # fmt: skip


def _encode(column: Column) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    """Codes (n,) int32 into the distinct texts (m,), which are in ascending order."""
    array = column if isinstance(column, (pa.Array, pa.ChunkedArray)) else pa.array(list(column), type=pa.string())
    array = array.cast(pa.string())
    if array.null_count:
        raise InvalidRequest(f"{array.null_count} rows lack a user, an item or a kind")
    encoded = array.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray) or len(encoded) == 0:
        return np.zeros(0, np.int32), np.zeros(0, np.object_)
    found = encoded.dictionary.to_numpy(zero_copy_only=False).astype(np.object_)
    ascending = np.argsort(found)
    rank = np.empty(len(found), np.int32)
    rank[ascending] = np.arange(len(found), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], found[ascending]


def _one_kind(n: int) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    return np.zeros(n, np.int32), np.array([UNNAMED_KIND], dtype=np.object_)


def _key_words(keys: pa.ChunkedArray) -> NDArray[np.uint64]:
    """16-byte keys as (n, 2) words, whose order is fixed, which is all a tie-break needs."""
    if keys.type != pa.binary(16) or keys.null_count:
        raise InvalidRequest("a snapshot key is not 16 bytes; take the snapshot again")
    parts = [
        np.frombuffer(one.buffers()[1], np.uint8)[16 * one.offset :][: 16 * len(one)] for one in keys.chunks if len(one)
    ]
    joined = np.concatenate([*parts, np.zeros(0, np.uint8)])
    return joined.view(">u8").reshape(-1, 2).astype(np.uint64)


def _order(
    user_ix: NDArray[np.int32],
    item_ix: NDArray[np.int32],
    time_s: NDArray[np.float64],
    kind_ix: NDArray[np.int32],
    weight: NDArray[np.float32],
    keys: NDArray[Any] | None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The order (n,) that sorts by user, time and tie-break, and where in it a row repeats the one before."""
    if keys is None:
        order = np.lexsort((weight, kind_ix, item_ix, time_s, user_ix))
        return order, np.zeros(len(order), dtype=bool)
    columns = [*np.atleast_2d(keys.T)[::-1], time_s, user_ix]
    order = np.lexsort(columns)
    repeated = np.zeros(len(order), dtype=bool)
    if len(order):
        repeated[1:] = np.all([column[order][1:] == column[order][:-1] for column in columns], axis=0)
    return order, repeated
