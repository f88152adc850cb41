"""The catalogue's items by row. Those that were read in bulk stay the lines of JSON that they came as until someone asks for one:
of a million items that saves some 600 MB and seconds of a start, and a request looks at a few dozen."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.store.catalogue import Item, ItemHead
from models.recommender import Mask

START = 2**32 - 1
NO_STARTS: NDArray[np.int64] = np.zeros(0, np.int64)
KEPT_ITEMS = 100_000  # made of lines, and kept for whoever asks next

_heads = msgspec.json.Decoder(ItemHead)
_item = msgspec.json.Decoder(Item)


@dataclass(frozen=True)
class Facts:
    """Of m items: `shown` (m,) neither removed, hidden nor unavailable; `fresh_s` (m,) float64 when published, else last changed,
    -inf for removed ones; published at `from_s`, expired at `until_s` (m,) float64, -inf and inf where that is not said."""

    shown: Mask
    fresh_s: NDArray[np.float64]
    from_s: NDArray[np.float64]
    until_s: NDArray[np.float64]

    @classmethod
    def of(cls, items: Sequence[ItemHead]) -> Self:
        """Those of these items."""
        # Spelled out rather than called: of a million items each of these takes a tenth of a second, a call for each twice that.
        shown = [one.available and not (one.removed or one.hidden) for one in items]
        newest = [None if one.removed else one.published_at or one.changed_at for one in items]
        from_s = _seconds([one.published_at for one in items], -np.inf)
        until_s = _seconds([one.expires_at for one in items], np.inf)
        return cls(np.array(shown, bool), _seconds(newest, -np.inf), from_s, until_s)


def _seconds(moments: Sequence[datetime | None], otherwise: float) -> NDArray[np.float64]:
    """(m,) float64 since the epoch."""
    found = np.full(len(moments), otherwise)
    there = [at for at, moment in enumerate(moments) if moment is not None]
    found[there] = [moment.timestamp() for moment in moments if moment is not None]
    return found


class Lines:
    """Items as lines of JSON, part by part: `ids`, and the facts and categories that a view needs of all of them."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.parts: list[bytes] = []
        self.starts: list[NDArray[np.int64]] = []  # of each line in its part
        self._facts: list[Facts] = []
        self._members: Mapping[str, array[int] | NDArray[np.int32]] = {}

    def take(self, part: bytes) -> None:
        """Add whole lines. Raises msgspec's errors for those that are no items, ValueError for an empty line."""
        heads = _heads.decode_lines(part)
        ends = np.flatnonzero(np.frombuffer(part, np.uint8) == ord("\n"))
        if len(ends) != len(heads):
            raise ValueError(f"{len(ends)} lines hold {len(heads)} items")
        members = cast("dict[str, array[int]]", self._members)
        for at, head in enumerate(heads, len(self.ids)):
            for category in head.categories:
                if (found := members.get(category)) is None:
                    found = members[category] = array("i")
                found.append(at)
        self.ids += [head.item for head in heads]
        self._facts.append(Facts.of(heads))
        self.parts.append(part)
        self.starts.append(np.concatenate([[0], ends[:-1] + 1]))

    @classmethod
    def of(
        cls, ids: list[str], parts: list[bytes], starts: list[NDArray[np.int64]], facts: Facts,
        members: Mapping[str, NDArray[np.int32]],
    ) -> Self:  # fmt: skip
        """What was taken once, and is known without reading the lines again; `members` are line numbers by category."""
        made = cls()
        made.ids, made.parts, made.starts, made._facts, made._members = ids, parts, starts, [facts], members
        return made

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def facts(self) -> Facts:
        """Of all of them, in the order of `ids`."""
        parts = (Facts.of([]), *self._facts)
        return Facts(
            np.concatenate([one.shown for one in parts]), np.concatenate([one.fresh_s for one in parts]),
            np.concatenate([one.from_s for one in parts]), np.concatenate([one.until_s for one in parts]),
        )  # fmt: skip

    def categories(self, rows: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """The rows of each category's items, ascending, when item i stands in rows[i]."""
        return {name: np.unique(rows[np.frombuffer(at, np.int32)]) for name, at in self._members.items()}


@dataclass(frozen=True)
class Written:
    """n items as lines of JSON, one after the other in `parts`: line i is `lengths[i]` bytes long and stands in row `rows[i]`,
    (n,) int64 and int32."""

    rows: NDArray[np.int32]
    lengths: NDArray[np.int64]
    parts: list[memoryview]


class Items:
    """An Item for each row; None for one that the catalogue does not know. Thread-safe as long as one thread writes."""

    def __init__(self, n: int = 0) -> None:
        self._n = n
        self._now: dict[int, Item] = {}  # by row, what was set one at a time: it goes before what the lines say
        self._parts: list[bytes] = []
        self._line_rows: NDArray[np.int32] = np.zeros(0, np.int32)  # of all lines, in their order
        self._at = NO_STARTS  # by row: the part, times 2^32, and where its line begins; or -1
        self._kept: dict[int, Item] = {}
        self._changed: NDArray[np.int64] = np.zeros(n, np.int64)  # by row: the number of the change that was its last
        self.changes = 0

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, row: int) -> Item | None:
        if row >= self._n:
            raise IndexError(f"row {row} of {self._n}")
        item = self._now.get(row) or self._kept.get(row)
        if item is None and row < len(self._at) and (at := int(self._at[row])) >= 0:
            if len(self._kept) >= KEPT_ITEMS:
                self._kept = {}
            lines, start = self._parts[at >> 32], at & START
            item = self._kept.setdefault(
                row, _item.decode(lines[start : lines.index(b"\n", start)])
            )  # one for all who ask
        return item

    def grow(self, more: int) -> None:
        """Add rows that the catalogue does not know."""
        self._changed = np.concatenate([self._changed, np.full(more, self.changes + 1)])
        self._n += more
        self.changes += 1

    def set(self, rows: Sequence[int], items: Sequence[Item]) -> None:
        """These rows hold these items from now on."""
        self._now.update(zip(rows, items, strict=True))
        self._changed[rows] = self.changes + 1
        self.changes += 1

    def fill(self, rows: NDArray[np.int32], lines: Lines) -> None:
        """Hold these lines, i in rows[i], where nothing was held before."""
        self._at = np.full(len(self), -1, np.int64)
        self._at[rows] = np.concatenate([NO_STARTS, *((at << 32) + starts for at, starts in enumerate(lines.starts))])
        self._parts, self._line_rows = lines.parts, rows
        self._changed[rows] = self.changes + 1
        self.changes += 1

    def changed_since(self, changes: int) -> NDArray[np.int32]:
        """The rows that were added or set after so many changes."""
        return np.flatnonzero(self._changed > changes).astype(np.int32)

    def every(self) -> Iterator[tuple[int, Item]]:
        """All items and their rows, in any order. What has to be made of lines is not kept."""
        now, rows = self._now.copy(), iter(self._line_rows.tolist())
        for part in self._parts:
            for item, row in zip(_item.decode_lines(part), rows, strict=False):
                if row not in now:
                    yield row, item
        yield from now.items()

    def still(self) -> Items:
        """The same items, which no later change reaches: the lines are shared."""
        found = Items()
        found._n, found._now = self._n, self._now.copy()
        found._parts, found._line_rows, found._at = self._parts, self._line_rows, self._at
        return found

    def written(self) -> Written:
        """All items as lines of JSON, without a copy of those that lie so. Nobody may change them meanwhile: see `still`."""
        at = self._at[self._line_rows]
        numbers, starts = at >> 32, at & START
        last = np.append(numbers[1:] != numbers[:-1], True)[: len(at)]  # of its part
        ends = np.append(starts[1:], 0)[: len(at)]
        ends[last] = [len(self._parts[number]) for number in numbers[last].tolist()]
        rows = np.fromiter(self._now, np.int32, len(self._now))
        kept = ~np.isin(self._line_rows, rows)
        now = msgspec.json.Encoder().encode_lines(self._now.values())
        more = np.diff(np.flatnonzero(np.frombuffer(now, np.uint8) == ord("\n")), prepend=-1)
        return Written(
            np.concatenate([self._line_rows[kept], rows]), np.concatenate([(ends - starts)[kept], more]),
            [*self._runs(numbers[~kept], starts[~kept], ends[~kept]), memoryview(now)],
        )  # fmt: skip

    def _runs(
        self, numbers: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> Iterator[memoryview]:
        """The lines but for these, which lie in parts of these numbers, in runs."""
        for number, part in enumerate(self._parts):
            whole, here = memoryview(part), numbers == number
            left = np.append(0, ends[here])
            for low, high in zip(left.tolist(), [*starts[here].tolist(), len(part)], strict=True):
                yield whole[low:high]
