"""Item attributes as columns, so that a filter over the whole catalogue is a few array operations.

A column is made when a filter first names its field, and then follows the catalogue change by change. What a filter said of
a view is kept: the next request with the same filter pays a look-up.
"""

from __future__ import annotations

import math
import operator
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.store.catalogue import Item
from serving.catalogue import NO_ROWS, Mask, Rows, View
from serving.expression import Comparison, Expression, Field, Node, Not, Value
from serving.items import Items

KEPT_COLUMNS = 64
KEPT_MASKS = 64
ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass
class Column:
    """The values of one field: item `number_rows[j]` has the number `numbers[j]`, `word_rows[j]` the text, true or false whose
    place in `vocabulary` is `words[j]`. An item whose value is a list has several. `present` (n,): has a value at all."""

    present: Mask
    number_rows: Rows = field(default_factory=NO_ROWS.copy)
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    word_rows: Rows = field(default_factory=NO_ROWS.copy)
    words: NDArray[np.int32] = field(default_factory=NO_ROWS.copy)
    vocabulary: dict[str | bool, int] = field(default_factory=dict)

    def replace(self, n: int, rows: Rows, values: Iterable[Any]) -> None:
        """Set what the items at `rows` have, of n in all."""
        changed = np.zeros(n, bool)
        changed[rows] = True
        kept, words_kept = ~changed[self.number_rows], ~changed[self.word_rows]
        present = np.concatenate([self.present, np.zeros(n - len(self.present), bool)])
        number_rows, numbers, word_rows, words, there = [], [], [], [], []
        for row, value in zip(rows.tolist(), values, strict=True):
            if value is None:
                continue
            there.append(row)
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, str | bool):
                    word_rows.append(row)
                    words.append(self.vocabulary.setdefault(one, len(self.vocabulary)))
                elif _is_number(one):
                    number_rows.append(row)
                    numbers.append(_float(one))
        present[rows] = False
        present[there] = True
        self.present = present
        self.number_rows = np.concatenate([self.number_rows[kept], np.array(number_rows, np.int32)])
        self.numbers = np.concatenate([self.numbers[kept], np.array(numbers, np.float64)])
        self.word_rows = np.concatenate([self.word_rows[words_kept], np.array(word_rows, np.int32)])
        self.words = np.concatenate([self.words[words_kept], np.array(words, np.int32)])

    @property
    def outworn(self) -> bool:
        """Whether most of the vocabulary is said by nobody any more."""
        return len(self.vocabulary) > 1000 + 2 * len(self.words)

    def where(self, comparison: Comparison) -> Mask:
        """(n,): the items of which the comparison is true."""
        values = comparison.values
        if comparison.operator == "!=":
            return self.present if values == (None,) else self.present & ~self._equal(values)
        if comparison.operator == "==":
            return ~self.present if values == (None,) else self._equal(values)
        return self._ordered(ORDERS[comparison.operator], values[0])

    def _equal(self, values: Sequence[Value]) -> Mask:
        numbers = np.array([value for value in values if _is_number(value)], np.float64)
        words = [
            self.vocabulary[value] for value in values if isinstance(value, str | bool) and value in self.vocabulary
        ]
        mask = np.zeros(len(self.present), bool)
        mask[self.number_rows[np.isin(self.numbers, numbers)]] = True
        mask[self.word_rows[np.isin(self.words, words)]] = True
        return mask

    def _ordered(self, order: Callable[[Any, Any], Any], value: Value) -> Mask:
        mask = np.zeros(len(self.present), bool)
        if isinstance(value, str):
            fits = np.array([isinstance(word, str) and order(word, value) for word in self.vocabulary], bool)
            mask[self.word_rows[fits[self.words]]] = True
        else:
            mask[self.number_rows[order(self.numbers, value)]] = True
        return mask


class Columns:
    """Masks of expressions. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items, self._followed = Items(), 0  # whose columns these are, and how many of its changes they have seen
        self._columns: OrderedDict[Field, Column] = OrderedDict()
        self._masks: OrderedDict[str, tuple[weakref.ref[View], Mask]] = OrderedDict()

    def mask(self, view: View, expression: Expression) -> Mask:
        """(n,): the items of the view of which the expression is true. Read-only; items that the catalogue does not know have
        no values."""
        kept = self._kept(view, expression)
        if kept is not None:
            return kept
        with self._lock:
            kept = self._kept(view, expression)  # by whoever had the lock before
            if kept is not None:
                return kept
            self._follow(view)
            found = self._evaluated(expression.root, view)[: len(view)]
            mask = found if len(found) == len(view) else np.concatenate([found, np.zeros(len(view) - len(found), bool)])
            mask.flags.writeable = False
            self._masks[expression.text] = (weakref.ref(view), mask)
            self._masks.move_to_end(expression.text)
            if len(self._masks) > KEPT_MASKS:
                self._masks.popitem(last=False)
        return mask

    def _kept(self, view: View, expression: Expression) -> Mask | None:
        kept = self._masks.get(expression.text)
        return kept[1] if kept is not None and kept[0]() is view else None

    def _follow(self, view: View) -> None:
        """Bring every column up to the items of the view."""
        if view.items is not self._items:
            self._columns.clear()
            self._items, self._followed = view.items, 0
        before, self._followed = self._followed, self._items.changes  # what changes meanwhile is seen twice
        rows = self._items.changed_since(before) if self._followed > before and self._columns else NO_ROWS
        if len(rows) == 0:
            return
        for name, column in list(self._columns.items()):
            column.replace(len(self._items), rows, [_value(self._items[row], name) for row in rows.tolist()])
            if column.outworn:
                del self._columns[name]

    def _evaluated(self, node: Node, view: View) -> Mask:
        if isinstance(node, Comparison):
            return self._column(node.field).where(node)
        if isinstance(node, Not):
            return ~self._evaluated(node.part, view)
        masks = [self._evaluated(part, view) for part in node.parts]
        joined: Mask = (np.logical_and if node.every else np.logical_or).reduce(masks)
        return joined

    def _column(self, name: Field) -> Column:
        column = self._columns.get(name)
        if column is None:
            n = len(self._items)
            column = Column(np.zeros(n, bool))
            column.replace(n, np.arange(n, dtype=np.int32), _all_values(self._items, n, name))
            self._columns[name] = column
        self._columns.move_to_end(name)
        if len(self._columns) > KEPT_COLUMNS:
            self._columns.popitem(last=False)
        return column


def _all_values(items: Items, n: int, name: Field) -> list[Any]:
    """What each of the first n rows has in a field."""
    values = [None] * n
    for row, item in items.every():
        if row < n:
            values[row] = _value(item, name)
    return values


def _value(item: Item | None, name: Field) -> Any:
    """What an item has in a field; None where it has nothing."""
    if item is None:
        return None
    if not name.built_in:
        found: Any = item.attributes
        for part in name.path:
            found = found.get(part) if isinstance(found, dict) else None
        return found
    value = getattr(item, name.path[0])
    return value.timestamp() if hasattr(value, "timestamp") else value


def _is_number(value: object) -> bool:
    """Whether a value is a number that compares: true and false are none, nor is NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(_float(value))


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # a whole number beyond what a float can hold
        return float("inf") if number > 0 else float("-inf")
