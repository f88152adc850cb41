"""How long each stage of a request takes, and how many candidates come out of it: as metrics of a sample, as spans of a trace."""

from __future__ import annotations

import random
import time
from functools import cache

from prometheus_client import Histogram

from core import tracing
from core.telemetry import STAGE_CANDIDATES, STAGE_SECONDS

SAMPLE = 16  # one of so many requests is observed: observing costs more than measuring


class Clock:
    """The stages of one request, as they end."""

    __slots__ = ("_began", "_marks")

    def __init__(self, began: float) -> None:
        self._began = began
        self._marks: list[tuple[str, float, int]] = []

    def ended(self, stage: str, candidates: int = -1) -> None:
        """A stage ends now, with so many candidates; -1 where there are none to count."""
        self._marks.append((stage, time.perf_counter(), candidates))

    def done(self) -> None:
        """The request is answered: observe its stages, and put them into its trace."""
        began = self._began
        for stage, end, candidates in self._marks:
            _seconds(stage).observe(end - began)
            if candidates >= 0:
                _candidates(stage).observe(candidates)
            began = end
        if (parent := tracing.current()) is not None:
            parts = [(stage, end, {"candidates": n} if n >= 0 else {}) for stage, end, n in self._marks]
            tracing.spans(parent, "recommend", parts, self._began)


class _NoClock(Clock):
    __slots__ = ()

    def ended(self, stage: str, candidates: int = -1) -> None:
        pass

    def done(self) -> None:
        pass


_no_clock = _NoClock(0.0)


def clock(began: float) -> Clock:
    """A clock that started at `began` (of time.perf_counter): of one request in SAMPLE, drawn by chance, and of every one
    that is traced."""
    drawn = random.random() * SAMPLE < 1  # noqa: S311 -- nobody gains by guessing it
    return Clock(began) if drawn or tracing.current() is not None else _no_clock


@cache
def _seconds(stage: str) -> Histogram:
    return STAGE_SECONDS.labels(stage)


@cache
def _candidates(stage: str) -> Histogram:
    return STAGE_CANDIDATES.labels(stage)
