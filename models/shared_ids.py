"""Item ids as they lie on disk: models of the same items share one array in memory, and with it the table from ids to rows."""

from __future__ import annotations

import hashlib
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.interactions import AT_ONCE

_known: WeakValueDictionary[bytes, NDArray[np.object_]] = (
    WeakValueDictionary()
)  # by the checksum of what they were read from


def shared_ids(raw: bytes) -> NDArray[np.object_]:
    """The ids (n,) of str in a JSON list, read-only. Raises ValueError where one is there twice, msgspec's for any other text.

    Of a million ids an array takes 70 MB and half a second, and a blend alone has five of them.
    """
    digest = hashlib.sha256(raw).digest()
    ids = _known.get(digest)
    if ids is None:
        found = msgspec.json.decode(raw, type=list[str])
        ids = np.array(found, dtype=np.object_)
        if not _ascending(ids) and not _distinct(found):
            raise ValueError("items.json names an item twice")
        ids.flags.writeable = False
        _known[digest] = ids
    return ids


def _ascending(ids: NDArray[np.object_]) -> bool:
    """As they are saved: none is there twice then, which a set of them would tell in three times the time."""
    parts = (ids[at : at + AT_ONCE + 1] for at in range(0, len(ids), AT_ONCE))
    return all(bool(np.less(part[:-1], part[1:], dtype=bool).all()) for part in parts)


def _distinct(ids: list[str]) -> bool:
    seen: set[str] = set()
    for at in range(0, len(ids), AT_ONCE):
        seen.update(ids[at : at + AT_ONCE])
    return len(seen) == len(ids)
