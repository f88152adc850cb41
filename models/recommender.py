"""The contract of every recommender, the batch of users it is asked about, top-k, and how a model lies on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from core.errors import ArtifactCorrupt, Conflict
from core.lazy import lazy
from core.progress import Reporter
from features.interactions import Interactions
from models.arrays import finite, read_arrays
from models.shared_ids import shared_ids

ConfigT = TypeVar("ConfigT")
History = tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float32]]
Mask = NDArray[np.bool_]
Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]
COLUMNS_A_BLOCK = 32
_UNTRAINED = np.array([-1], np.int32)
_UNTRAINED.flags.writeable = False
INTEGERS = frozenset({"indptr", "indices", "n_items"})  # arrays of a saved model; all others hold floats


@dataclass(frozen=True)
class UserBatch:
    """B users with their positive histories, oldest first, of items the model knows.

    `rows` (B,) int32, the user's row in training or -1; `indptr` (B + 1,) int64: the history of user b is
    indptr[b]:indptr[b + 1] of `items` int32, `times_s` float64 and `weights` float32; `now_s` (B,) float64, the time of asking.
    """

    rows: NDArray[np.int32]
    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    times_s: NDArray[np.float64]
    weights: NDArray[np.float32]
    now_s: NDArray[np.float64]

    @classmethod
    def from_histories(
        cls,
        histories: Sequence[History],
        now_s: Sequence[float] | NDArray[np.float64] | None = None,
        rows: Sequence[int] | NDArray[np.int32] | None = None,
    ) -> Self:
        """From one (item_ix, time_s, weight) triple a user, in any order.

        Items of row -1 (unknown to the model) and weights of zero or below are left out. `now_s` defaults to the time of
        each user's newest interaction, `rows` to -1, never trained on.
        """
        sizes = [len(items) for items, _, _ in histories]
        owner = np.repeat(np.arange(len(histories)), sizes)
        items = np.concatenate([np.asarray(h[0], np.int32) for h in histories] or [np.zeros(0, np.int32)])
        times = np.concatenate([np.asarray(h[1], np.float64) for h in histories] or [np.zeros(0)])
        weights = np.concatenate([np.asarray(h[2], np.float32) for h in histories] or [np.zeros(0, np.float32)])
        order = np.lexsort((times, owner))
        order = order[(items[order] >= 0) & (weights[order] > 0)]
        indptr = np.searchsorted(owner[order], np.arange(len(histories) + 1)).astype(np.int64)
        known = np.full(len(histories), -1, np.int32) if rows is None else np.asarray(rows, np.int32)
        newest = _newest(indptr, times[order])
        now = newest if now_s is None else np.asarray(now_s, np.float64)
        return cls(known, indptr, items[order], times[order], weights[order], now)

    @classmethod
    def of_one(cls, history: History, now_s: float) -> Self:
        """As `from_histories`, of one user never trained on, whose history is as a batch has it (see models.user_kernel)."""
        indptr, now = np.array((0, len(history[0])), np.int64), np.array((now_s,), np.float64)
        return cls(_UNTRAINED, indptr, *history, now)

    @classmethod
    def from_sequences(cls, data: Interactions) -> Self:
        """Every user of `data` with the whole positive history, asked at the time of its newest interaction."""
        kept = data.positives()
        rows = np.arange(data.n_users, dtype=np.int32)
        return cls(rows, kept.indptr, kept.item_ix, kept.time_s, kept.weight, _newest(kept.indptr, kept.time_s))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> UserBatch:
        """A contiguous run of users, as views."""
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError("a batch is cut into runs of neighbours only")
        stop = max(start, stop)
        low, high = self.indptr[start], self.indptr[stop]
        return UserBatch(
            self.rows[part], self.indptr[start : stop + 1] - low, self.items[low:high],
            self.times_s[low:high], self.weights[low:high], self.now_s[part],
        )  # fmt: skip

    @lazy
    def owner(self) -> NDArray[np.int64]:
        """(m,) int64: whose interaction each is, as a position in the batch."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    @lazy
    def age(self) -> NDArray[np.int64]:
        """(m,) int64: how many interactions of the same user are newer; the newest has age 0."""
        if len(self) == 1:
            return np.arange(len(self.items) - 1, -1, -1)
        return self.indptr[1:][self.owner] - 1 - np.arange(len(self.items))

    def where(self, mask: Mask) -> UserBatch:
        """The same users with only those interactions where `mask` (m,) is true."""
        counts = np.bincount(self.owner[mask], minlength=len(self))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return UserBatch(self.rows, indptr, self.items[mask], self.times_s[mask], self.weights[mask], self.now_s)

    def newest(self, n: int) -> UserBatch:
        """The same users with at most their n newest interactions."""
        if len(self) != 1:
            return self.where(self.age < n)
        last = slice(max(0, len(self.items) - n), None)  # one user's are in order
        items = self.items[last].copy()  # scipy sorts what it is given, where it is
        indptr = np.array([0, len(items)])
        return UserBatch(self.rows, indptr, items, self.times_s[last].copy(), self.weights[last].copy(), self.now_s)


@runtime_checkable
class Recommender(Protocol):
    """A trained model. It keeps item ids, never user ids: whoever asks brings the history along.

    `item_ids` (n_items,) str objects name the rows that every method takes and gives; `trained_until_s` is the time of the newest
    interaction it has seen. Scores compare within one user only; -inf means that nothing speaks for the item.
    A model that lives in a vector space also has `item_vectors() -> (n_items, d) float32` and
    `encode(users) -> (B, d) float32`, whose inner products are its scores.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[Any]]

    @property
    def config(self) -> Any:
        """What it was trained with, an instance of `config_type`."""

    @property
    def item_ids(self) -> NDArray[np.object_]: ...

    @property
    def trained_until_s(self) -> float: ...

    @classmethod
    def fit(cls, data: Interactions, config: Any = None, seed: int = 0, reporter: Reporter | None = None) -> Self:
        """Learn from `data`; the same data, config and seed give the same model.

        Raises Conflict when there is nothing to learn from.
        """

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32."""

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """The best k items of each user: rows (B, k) int32 and scores (B, k) float32, best first.

        `exclude`, bool of shape (n_items,) or (B, n_items), marks what may not be returned; nothing else is left out.
        Where fewer than k remain, rows are -1 and scores -inf. Equal scores are ordered by row.
        """

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """For M items, the k most alike, themselves left out: rows (M, k) int32, scores (M, k) float32, padded as above."""

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """For items (B, k), the rows of the history that carried the score: (B, k, limit) int32, strongest first.

        Only items with a positive share are named, the rest is -1; a model that ignores the history names none.
        """

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, which is made when missing."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises ArtifactCorrupt when a file is missing, truncated or does not fit the others."""


@runtime_checkable
class VectorRecommender(Recommender, Protocol):
    """A recommender whose scores are inner products, so that an index can search them."""

    def item_vectors(self) -> NDArray[np.float32]:
        """(n_items, d) float32."""

    def encode(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, d) float32; all zeros where the history is empty."""


@runtime_checkable
class OpenRecommender(Recommender, Protocol):
    """A recommender that can also name items it was not trained on, where a user's own history holds them."""

    def with_items(self, item_ids: NDArray[np.object_]) -> Self:
        """The same model with a row for each of `item_ids` as well; what it says of other users and items stays as it was."""


def knowing(model: Recommender, item_ids: NDArray[np.object_]) -> Recommender:
    """`model` with rows for `item_ids` where it can make use of them, else as it is."""
    return model.with_items(item_ids) if isinstance(model, OpenRecommender) else model


def top_k(scores: NDArray[np.float32], k: int, exclude: Mask | None = None) -> Ranked:
    """The k best columns of each row of `scores` (B, n): rows (B, k) int32 and scores (B, k) float32, best first.

    Equal scores are ordered by column, also at the edge of the k. NaN and -inf are never returned; what is missing is -1, -inf.
    """
    batch, n = scores.shape
    width = min(k, n)
    if width <= 0 or batch == 0:
        return np.full((batch, k), -1, np.int32), np.full((batch, k), -np.inf, np.float32)
    usable = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    if exclude is not None:
        usable = np.where(exclude, np.float32(-np.inf), usable)
    edge = _edge(usable, width)  # which at least k a row reach
    above = usable > edge
    tied = np.flatnonzero((usable == edge) & (edge > -np.inf))  # often nearly all: the first are enough
    owner = tied // n
    wanted = np.arange(len(tied)) - np.searchsorted(owner, owner) < (width - above.sum(axis=1))[owner]
    reached = np.concatenate([np.flatnonzero(above), tied[wanted]])
    row, column = np.divmod(reached, n)
    return ragged_top_k(row, column.astype(np.int32), usable.ravel()[reached], batch, k)


def _edge(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """(B, 1): a score that at least k columns of each row reach: the k-th best, in wide rows the k-th best of blocks' best."""
    blocks = scores.shape[1] // COLUMNS_A_BLOCK
    if blocks > 4 * k:
        whole = scores[:, : blocks * COLUMNS_A_BLOCK].reshape(len(scores), blocks, COLUMNS_A_BLOCK)
        scores = whole.max(axis=2)  # selecting among these is many times faster
    at = scores.shape[1] - k
    edge: NDArray[np.float32] = np.partition(scores, at, axis=1)[:, at, None]
    return edge


def ragged_top_k(
    row: NDArray[np.int64], column: NDArray[np.int32], score: NDArray[np.float32], batch: int, k: int
) -> Ranked:
    """As `top_k`, for scores given as (row, column, score) triples in any order; pairs not given are not candidates."""
    found = np.full((batch, k), -1, np.int32)
    best = np.full((batch, k), -np.inf, np.float32)
    order = np.lexsort((column, -score, row))
    row, column, score = row[order], column[order], score[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)  # position within the own row
    kept = (place < k) & (score > -np.inf)
    found[row[kept], place[kept]] = column[kept]
    best[row[kept], place[kept]] = score[kept]
    return found, best


def strongest_terms(
    slot: NDArray[np.int64], item: NDArray[np.int32], term: NDArray[np.float32], shape: tuple[int, int], limit: int
) -> NDArray[np.int32]:
    """(slots, limit) int32: per slot the items with the largest sums of positive terms, an item met twice named once.

    Term t of `item`[t] speaks in `slot`[t]; `shape` is (slots, n_items). Padded with -1.
    """
    kept = term > 0
    pair, place = np.unique(slot[kept] * shape[1] + item[kept], return_inverse=True)
    total = np.bincount(place, term[kept], len(pair)).astype(np.float32)
    row, column = np.divmod(pair, max(shape[1], 1))
    return ragged_top_k(row, column.astype(np.int32), total, shape[0], limit)[0]


def positives_to_learn_from(data: Interactions) -> Interactions:
    """The positive interactions of `data`. Raises Conflict when there are none."""
    kept = data.positives()
    if len(kept) == 0:
        raise Conflict("there are no positive interactions to learn from: publish events, then train")
    return kept


def save_model(folder: Path, model: Recommender, arrays: dict[str, NDArray[Any]]) -> None:
    """Write model.json (name, config, trained_until_s), items.json (ids by row) and arrays.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    about = _About(model.name, msgspec.to_builtins(model.config), model.trained_until_s)
    (folder / "model.json").write_bytes(msgspec.json.encode(about))
    (folder / "items.json").write_bytes(msgspec.json.encode(model.item_ids.tolist()))
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "arrays.safetensors")


class Saved(msgspec.Struct, frozen=True):
    """What `load_model` found: the config (still plain), item ids (n_items,), and arrays by name."""

    config: dict[str, Any]
    trained_until_s: float
    item_ids: NDArray[np.object_]
    arrays: dict[str, NDArray[Any]]

    def config_as(self, kind: type[ConfigT]) -> ConfigT:
        """The config as `kind`. Raises ArtifactCorrupt when it is another model's."""
        try:
            return msgspec.convert(self.config, kind)
        except msgspec.ValidationError as error:
            raise ArtifactCorrupt(f"model.json: {error}; train and publish the model again") from error


def load_model(folder: Path, name: str, arrays: Sequence[str]) -> Saved:
    """Read what `save_model` wrote. Raises ArtifactCorrupt, naming the file, when anything is missing or malformed."""
    try:
        about = msgspec.json.decode((folder / "model.json").read_bytes(), type=_About)
        ids = shared_ids((folder / "items.json").read_bytes())
        found = read_arrays(folder / "arrays.safetensors")
    except (OSError, msgspec.MsgspecError, RecursionError, ValueError, KeyError) as error:
        raise ArtifactCorrupt(f"{folder}: {error}; train and publish the model again") from error
    if about.name != name:
        raise ArtifactCorrupt(f"{folder} holds a model named {about.name!r}, not {name!r}")
    if missing := sorted(set(arrays) - found.keys()):
        raise ArtifactCorrupt(f"{folder}/arrays.safetensors lacks {missing}; train and publish the model again")
    if other := [one for one, array in found.items() if array.dtype.kind != ("i" if one in INTEGERS else "f")]:
        raise ArtifactCorrupt(f"{folder}: {other[0]} holds {found[other[0]].dtype}; train and publish the model again")
    return Saved(about.config, about.trained_until_s, ids, found)


def check_shape(folder: Path, array: NDArray[Any], *shape: int | None) -> None:
    """Raise ArtifactCorrupt unless `array` is finite and has this shape (None: any length)."""
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or not finite(array):
        raise ArtifactCorrupt(f"{folder}: an array of shape {array.shape} does not fit {shape}, or is not finite")


class _About(msgspec.Struct, frozen=True):
    name: str
    config: dict[str, Any]
    trained_until_s: float


def _newest(indptr: NDArray[np.int64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last time of each run, 0 where it is empty."""
    newest = np.zeros(len(indptr) - 1)
    filled = np.diff(indptr) > 0
    newest[filled] = times_s[indptr[1:][filled] - 1]
    return newest
