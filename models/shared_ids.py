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
        seen: set[str] = set()
        for at in range(0, len(found), AT_ONCE):
            seen.update(found[at : at + AT_ONCE])
        if len(seen) < len(found):
            raise ValueError("items.json names an item twice")
        ids = np.array(found, dtype=np.object_)
        ids.flags.writeable = False
        _known[digest] = ids
    return ids
