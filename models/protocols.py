"""How data is cut into what a model may learn from, what it is asked, and what the right answers are."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from core.errors import InvalidRequest, NotFound
from features.interactions import Interactions
from models.recommender import UserBatch

Stage = Literal["validation", "test"]


@dataclass(frozen=True)
class Split:
    """C cases: a user's history up to a moment, and the targets that came after it.

    Models learn from `train` alone. `record` is where histories are read: that of case c is the interactions
    start[c]:end[c], asked at now_s[c], and belongs to row user_ix[c] of it. Its targets are
    target_ix[target_indptr[c]:target_indptr[c + 1]], rows of record.item_ids, -1 for an item the record does not know.
    `cut_s`, where the split has a clock: a model that saw anything at or after it is refused.
    """

    name: str
    stage: Stage
    train: Interactions
    record: Interactions
    user_ix: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    now_s: NDArray[np.float64]
    target_indptr: NDArray[np.int64]
    target_ix: NDArray[np.int32]
    mask_seen: bool
    cut_s: float | None = None

    def __len__(self) -> int:
        return len(self.user_ix)

    def users(self, part: slice, item_rows: NDArray[np.int32], user_rows: NDArray[np.int32]) -> UserBatch:
        """The cases of `part` as a model sees them.

        `item_rows` (record.n_items,) and `user_rows` (record.n_users,) are the model's rows, -1 for what it does not know:
        such items are left out. A model that can use items it was not trained on is given rows for them first (`knowing`).
        """
        start, end = self.start[part], self.end[part]
        indptr = np.concatenate([[0], np.cumsum(end - start)]).astype(np.int64)
        at = np.arange(indptr[-1]) + np.repeat(start - indptr[:-1], end - start)
        items = item_rows[self.record.item_ix[at]]
        whole = UserBatch(
            user_rows[self.user_ix[part]],
            indptr,
            items,
            self.record.time_s[at],
            self.record.weight[at],
            self.now_s[part],
        )
        return whole.where(items >= 0)

    def targets(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The case (T,) int64, counted from the part's first, and record row (T,) int32 of each target of `part`."""
        start, stop, _ = part.indices(len(self))
        bounds = self.target_indptr[start : stop + 1]
        return np.repeat(np.arange(stop - start), np.diff(bounds)), self.target_ix[bounds[0] : bounds[-1]]

    def sample(self, cases: int, seed: int = 0) -> Split:
        """At most so many of the cases, drawn with the seed, in their order; what is trained on stays whole."""
        if len(self) <= cases:
            return self
        kept = np.sort(np.random.default_rng(seed).choice(len(self), cases, replace=False))
        size = np.diff(self.target_indptr)[kept]
        indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        at = np.arange(indptr[-1]) + np.repeat(self.target_indptr[kept] - indptr[:-1], size)
        return replace(
            self, user_ix=self.user_ix[kept], start=self.start[kept], end=self.end[kept], now_s=self.now_s[kept],
            target_indptr=indptr, target_ix=self.target_ix[at],
        )  # fmt: skip


class Protocol(msgspec.Struct, frozen=True):
    """A data set's protocol.toml: how to split it, what to measure, and the figures `published` on it."""

    split: Literal["leave-last-out", "given", "time"]
    metrics: tuple[str, ...]
    mask_seen: bool = True
    clock: str = "seconds"
    published: tuple[dict[str, Any], ...] = ()


def read_protocol(folder: Path) -> Protocol:
    """Read `protocol.toml`. Raises NotFound when it is missing and InvalidRequest when it is malformed."""
    path = folder / "protocol.toml"
    if not path.is_file():
        raise NotFound(f"{path} does not exist; it must name split, metrics and mask_seen")
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Protocol)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidRequest(f"{path}: {error}") from error


def split_folder(folder: Path, stage: Stage = "test", popularity: float = 0.0) -> Split:
    """Split a data folder as its protocol.toml says. Models are chosen on stage validation; test is read once.

    `popularity`: see `held_out_share`, which makes the validation split of data whose test is given.
    """
    protocol = read_protocol(folder)
    data = Interactions.from_folder(folder)
    if protocol.split == "time":
        train_quantile, until_quantile = (0.8, 0.9) if stage == "validation" else (0.9, None)
        return time_split(data, train_quantile, until_quantile, protocol.mask_seen)
    if protocol.split == "leave-last-out":
        return leave_last_out(data, stage, protocol.mask_seen)
    if stage == "validation":
        return held_out_share(data, 0.2, protocol.mask_seen, popularity=popularity)
    path = folder / "test.csv.gz"
    if not path.is_file():
        raise NotFound(f"{path} does not exist; a given split needs its targets as user,item")
    kinds = {"user": pa.string(), "item": pa.string()}
    table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=kinds))
    return given_split(data, table["user"].to_pylist(), table["item"].to_pylist(), protocol.mask_seen)


def time_split(
    data: Interactions, train_quantile: float = 0.9, until_quantile: float | None = None, mask_seen: bool = True
) -> Split:
    """`split_at` quantiles of all times. Raises InvalidRequest when either side would be empty."""
    if len(data) == 0:
        raise InvalidRequest("there are no interactions to split: publish events first")
    until_s = None if until_quantile is None else float(np.quantile(data.time_s, until_quantile))
    return split_at(data, float(np.quantile(data.time_s, train_quantile)), until_s, mask_seen)


def split_at(data: Interactions, cut_s: float, until_s: float | None = None, mask_seen: bool = True) -> Split:
    """Rolling: train before `cut_s`; every positive interaction from then on is one case.

    The input of a case is the user's own history up to it, in the order of the record, and nothing later; nothing is
    retrained. With `until_s`, what comes from there on is no target (validation). Raises InvalidRequest when a side is empty.
    """
    record, train = data.positives(), data.before(cut_s)
    after = (record.time_s >= cut_s) & (record.time_s < (np.inf if until_s is None else until_s))
    at = np.flatnonzero(after)
    if len(at) == 0 or len(train.positives()) == 0:
        raise InvalidRequest(
            f"this time split leaves {len(train):,} interactions to learn from and {len(at):,} to predict; both need some"
        )
    user_ix = record.user_ix[at]
    return Split(
        "time", "test" if until_s is None else "validation", train, record, user_ix,
        record.indptr[user_ix], at, record.time_s[at], np.arange(len(at) + 1), record.item_ix[at], mask_seen, cut_s,
    )  # fmt: skip


def leave_last_out(data: Interactions, stage: Stage = "test", mask_seen: bool = True) -> Split:
    """Strict: of each user with at least 3 the last is the test target, the one before it the validation target.

    Neither is trained on; at test time the validation item is part of the input.
    """
    record = data.positives()
    users = np.flatnonzero(np.diff(record.indptr) >= 3).astype(np.int32)
    if len(users) == 0:
        raise InvalidRequest("leave-last-out needs a user with at least 3 positive interactions")
    last = record.indptr[users + 1] - 1
    learn = np.ones(len(record), dtype=bool)
    learn[last] = learn[last - 1] = False
    at = last if stage == "test" else last - 1
    return Split(
        "leave-last-out", stage, record.keep(learn), record, users, record.indptr[users], at,
        record.time_s[at], np.arange(len(users) + 1), record.item_ix[at], mask_seen,
    )  # fmt: skip


def given_split(data: Interactions, users: list[str], items: list[str], mask_seen: bool = True) -> Split:
    """Targets as pairs of ids: one case for each user with a target; the whole of `data` is trained on and is the input.

    Raises InvalidRequest for a target whose user has no interactions, or, where these are masked, has it already.
    """
    record = data.positives()
    user_ix, target_ix = record.users.rows(users), record.items.rows(items)
    if np.any(user_ix < 0):
        raise InvalidRequest(f"test user {users[int(np.argmin(user_ix))]!r} has no interactions to be recommended from")
    pairs = record.user_ix.astype(np.int64) * record.n_items + record.item_ix
    had = (target_ix >= 0) & np.isin(user_ix.astype(np.int64) * record.n_items + target_ix, pairs)
    if mask_seen and had.any():
        raise InvalidRequest(
            f"{np.count_nonzero(had):,} of the {len(had):,} targets are in their users' histories, which are masked and "
            "trained on: take them out of one of the two, or set mask_seen = false"
        )
    return _one_case_a_user("given", "test", data, record, user_ix, target_ix, mask_seen)


def held_out_share(
    data: Interactions, share: float = 0.2, mask_seen: bool = True, seed: int = 0, popularity: float = 0.0
) -> Split:
    """A validation split of data without a clock: a random `share` of each user's items (of users with 2 or more).

    They are drawn one after another with odds of the item's number of interactions to the power `popularity`: by the first of
    as many exponential waiting times (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
    """
    record = data.positives()
    waits = -np.log1p(-np.random.default_rng(seed).random(len(record)))
    waits /= np.bincount(record.item_ix, minlength=record.n_items)[record.item_ix] ** popularity
    shuffled = np.lexsort((waits, record.user_ix))
    place = np.empty(len(record), np.int64)
    place[shuffled] = np.arange(len(record)) - record.indptr[record.user_ix]
    held = place < np.floor(np.diff(record.indptr) * share + 0.5)[record.user_ix]
    held &= np.diff(record.indptr)[record.user_ix] > 1
    learn, out = record.keep(~held), record.keep(held)
    users, items = out.user_ids[out.user_ix], out.item_ids[out.item_ix]
    user_ix, target_ix = learn.users.rows(users), learn.items.rows(items)
    return _one_case_a_user("given", "validation", learn, learn, user_ix, target_ix, mask_seen)


def _one_case_a_user(
    name: str,
    stage: Stage,
    train: Interactions,
    record: Interactions,
    user_ix: NDArray[np.int32],
    target_ix: NDArray[np.int32],
    mask_seen: bool,
) -> Split:
    order = np.argsort(user_ix, kind="stable")
    users, first = np.unique(user_ix[order], return_index=True)
    indptr = np.append(first, len(order)).astype(np.int64)
    start, end = record.indptr[users], record.indptr[users + 1]
    now_s = record.time_s[end - 1]
    return Split(name, stage, train, record, users, start, end, now_s, indptr, target_ix[order], mask_seen)
