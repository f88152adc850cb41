"""What is known of items besides who wants them: texts and categories, and since when, so that none comes from the future."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.errors import InvalidRequest
from models.item_text import Texts

TEXT_COLUMNS = ("title", "categories", "brand", "description")


@dataclass(frozen=True)
class ItemFeatures:
    """`texts` and `categories` by external item id; `since_s`, when that came to be known (an item absent from it: always).

    The categories of an item are a set in the order of the source, each counting alike.
    """

    texts: Texts = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    since_s: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read `items.csv.gz` (item[,title][,categories][,brand][,description][,timestamp]); empty without that file.

        Categories are joined by |; `timestamp`, in seconds, is when the line came to be known. Raises InvalidRequest
        where it is not a number or there is no column `item`.
        """
        path = folder / "items.csv.gz"
        if not path.is_file():
            return cls()
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and "item" not in rows[0]:
            raise InvalidRequest(f"{path} has no column item; expected item,title,categories,brand,description")
        try:
            since = {row["item"]: float(row["timestamp"]) for row in rows if row.get("timestamp")}
        except ValueError as error:
            raise InvalidRequest(f"{path}: {error}; timestamp is a number of seconds") from error
        return cls(
            {row["item"]: " ".join((row.get(name) or "").replace("|", " ") for name in TEXT_COLUMNS) for row in rows},
            {row["item"]: tuple(dict.fromkeys(filter(None, (row.get("categories") or "").split("|")))) for row in rows},
            since,
        )

    def as_of(self, cut_s: float | None) -> ItemFeatures:
        """What was known just before `cut_s`; everything where there is no clock (None)."""
        if cut_s is None or not self.later_than(cut_s):
            return self
        late = self.later_than(cut_s)
        return ItemFeatures(
            {item: text for item, text in self.texts.items() if item not in late},
            {item: names for item, names in self.categories.items() if item not in late},
            {item: since for item, since in self.since_s.items() if item not in late},
        )

    def later_than(self, cut_s: float) -> set[str]:
        """The items whose features came to be known at or after `cut_s`."""
        return {item for item, since in self.since_s.items() if since >= cut_s}

    def memberships(self, item_ids: NDArray[np.object_]) -> sparse.csr_matrix:
        """(n, n_categories) float32 csr: each item's share in each category, rows that sum to 1, or to 0 where it has none."""
        column_of: dict[str, int] = {}
        known = [self.categories.get(item, ()) for item in item_ids.tolist()]
        columns = [column_of.setdefault(name, len(column_of)) for names in known for name in names]
        indptr = np.cumsum([0, *map(len, known)])
        shares = [1 / len(names) for names in known for _ in names]
        shape = (len(item_ids), len(column_of))
        return sparse.csr_matrix((np.array(shares, np.float32), np.array(columns, np.int32), indptr), shape=shape)
