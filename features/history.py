"""The live history: what Postgres knows of a user right now, in the rows of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from core.store.history import HistoryEvent
from features.interactions import IdTable


def live_history(
    events: Sequence[HistoryEvent], items: IdTable, kind_weights: Mapping[str, float]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float32]]:
    """(item_ix, time_s, weight), each (m,), for the m events whose item the model knows, oldest first.

    Weights follow Interactions.from_columns: a kind without a weight weighs 1, a negative value counts against.
    """
    if not events:
        return np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.float32)
    names, kinds, moments, values = zip(*map(astuple, events), strict=True)
    rows = items.rows(names)
    times = np.array([moment.timestamp() for moment in moments])
    weights = np.fromiter(map(kind_weights.get, kinds, repeat(1.0)), np.float32, len(kinds))
    against = [at for at, value in enumerate(values) if value is not None and value < 0]
    weights[against] = -np.abs(weights[against])
    known = (rows >= 0).nonzero()[0][::-1]  # the store gives newest first
    return rows.take(known), times.take(known), weights.take(known)
