"""The live history: what Postgres knows of a user right now, in the rows of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.store.history import HistoryEvent
from features.interactions import IdTable


def live_history(
    events: Sequence[HistoryEvent], items: IdTable, kind_weights: Mapping[str, float]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float32]]:
    """(item_ix, time_s, weight), each (m,), for the m events whose item the model knows, oldest first.

    Weights follow Interactions.from_columns: a kind without a weight weighs 1, a negative value counts against.
    """
    rows = items.rows([event.item for event in events])
    times = np.array([event.time.timestamp() for event in events], dtype=np.float64)
    weights = np.array([_weight(event, kind_weights) for event in events], dtype=np.float32)
    known = np.flatnonzero(rows >= 0)[::-1]  # the store gives newest first
    return rows[known], times[known], weights[known]


def _weight(event: HistoryEvent, kind_weights: Mapping[str, float]) -> float:
    weight = kind_weights.get(event.kind, 1.0)
    return -abs(weight) if event.value is not None and event.value < 0 else weight
