"""How many events there are and how fast they come, sampled now and then for people to look at."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from itertools import pairwise

from core.store.catalogue import Catalogue

PULSE_EVERY_S = 5.0
KEPT_BEATS = 120  # ten minutes


class Pulse:
    """Keeps the newest totals by kind, and a short past of their sum."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._beats: deque[tuple[float, int]] = deque(maxlen=KEPT_BEATS)
        self.totals: Mapping[str, int] = {}

    def beat(self) -> None:
        """Take a sample. Raises DatabaseUnavailable."""
        totals = self._catalogue.totals()
        self.totals = totals
        interactions = sum(count for name, count in totals.items() if name.startswith("interaction."))
        self._beats.append((time.monotonic(), interactions))

    def rates(self) -> list[float]:
        """Interactions per second between samples, oldest first; a total that fell (someone was erased) counts as none."""
        beats = list(self._beats)
        pairs = pairwise(beats)
        return [max(0.0, (after - before) / (at - since)) for (since, before), (at, after) in pairs if at > since]
