"""The live history: what Postgres knows of a user right now, as columns, made once and continued by what is done next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Self

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from core.store.history import History, HistoryEvent
from features.interactions import rows_of

NO_ROWS: NDArray[np.int32] = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """m things that a user did, newest first, in the rows of a table of items that only grows.

    `items` and `kinds` (m,) are str; `rows` (m,) int32, -1 for what the table does not know; `times_s` (m,) float64 since the
    epoch; `weights` (m,) float32 as Interactions.from_columns has them: a kind without a weight weighs 1, a negative value counts
    against. `seen` and `refused` are int32 rows of all items ever touched, and of those ever said no to, an item maybe more than
    once. All rows are below `stop`. `known` is how many items the table had when something was not found in it, -1 where all was.
    """

    items: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: NDArray[np.int32]
    times_s: NDArray[np.float64]
    weights: NDArray[np.float32]
    seen: NDArray[np.int32]
    refused: NDArray[np.int32]
    stop: int
    known: int
    row_of: Mapping[str, int]
    kind_weights: Mapping[str, float]

    @classmethod
    def of(cls, history: History, row_of: Mapping[str, int], kind_weights: Mapping[str, float]) -> Self:
        """Of a history, in the rows of a table."""
        size = len(row_of)  # before anything is looked up in it: it may be growing
        items, kinds, times_s, weights, refused = _columns(history.events, kind_weights)
        rows = rows_of(row_of, items)
        older = history.seen.difference(items)
        said_no = [items[at] for at in refused]
        said_no += history.refused.union(
            *(own for kind, own in history.kinds.items() if kind_weights.get(kind, 1.0) < 0)
        )
        seen = np.concatenate([rows, rows_of(row_of, older)]) if older else rows
        against = rows_of(row_of, said_no) if said_no else NO_ROWS
        lowest = min(seen.min(initial=0), against.min(initial=0))
        stop = 1 + max(seen.max(initial=-1), against.max(initial=-1))
        return cls(
            items, kinds, rows, times_s, weights, seen[seen >= 0] if lowest < 0 else seen, against[against >= 0],
            int(stop), size if lowest < 0 else -1, row_of, kind_weights,
        )  # fmt: skip

    def holds(self, row_of: Mapping[str, int], kind_weights: Mapping[str, float]) -> bool:
        """Whether it is what `of` would make now, of the same history."""
        same = self.row_of is row_of and self.kind_weights is kind_weights
        return same and (self.known < 0 or self.known == len(row_of))

    def then(self, new: Sequence[HistoryEvent], m: int) -> Timeline | None:
        """This one after what was done since, newest first, of which the newest m are told. None where the table does not know
        one of these items."""
        items, kinds, times_s, weights, refused = _columns(new, self.kind_weights)
        first = rows_of(self.row_of, items)
        if first.min(initial=0) < 0:
            return None
        rows = np.concatenate([first, self.rows[: m - len(new)]])
        whole = self.seen is self.rows and len(rows) == len(new) + len(self.rows)
        return Timeline(
            (*items, *self.items)[:m], (*kinds, *self.kinds)[:m], rows, np.concatenate([times_s, self.times_s])[:m],
            np.concatenate([weights, self.weights])[:m], rows if whole else np.concatenate([first, self.seen]),
            np.concatenate([first.take(refused), self.refused]) if refused else self.refused,
            max(self.stop, 1 + int(first.max(initial=-1))), self.known, self.row_of, self.kind_weights,
        )  # fmt: skip

    def strongest(self) -> dict[str, str]:
        """The strongest thing that the user did with each item, as the kind of its event; the newest of equal ones."""
        weight, found = self.kind_weights.get, dict[str, str]()
        for item, kind in zip(self.items, self.kinds, strict=True):
            before = found.setdefault(item, kind)
            if kind != before and weight(kind, 1.0) > weight(before, 1.0):
                found[item] = kind
        return found


def _columns(events: Sequence[HistoryEvent], kind_weights: Mapping[str, float]) -> _Columns:
    """Items, kinds, times, weights, and the places of what was said no to."""
    if not events:
        return (), (), np.zeros(0), np.zeros(0, np.float32), []
    items, kinds, moments, values = zip(*map(astuple, events), strict=True)
    times_s = np.array([moment.timestamp() for moment in moments])
    weights = np.fromiter(map(kind_weights.get, kinds, repeat(1.0)), np.float32, len(kinds))
    negative = [at for at, value in enumerate(values) if value is not None and value < 0]
    refused = sorted({*negative, *(weights < 0).nonzero()[0].tolist()})
    weights[negative] = -np.abs(weights[negative])
    return items, kinds, times_s, weights, refused


_Columns = tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64], NDArray[np.float32], list[int]]
