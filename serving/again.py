"""The same answer again: what a user was shown last stands as long as nothing that it was made from has changed.

Kept with the user's past (serving/histories.py), which is another object as soon as the user has done something, so that it is
forgotten with it. Only the slate is new each time.
"""

from __future__ import annotations

import random
import time
from operator import is_

import msgspec

from serving.query import Ask, Query
from serving.shapes import Recommended

KEPT_S = 60.0  # at most: some models read how long ago things were done
SPREAD = 0.25  # of that by chance, so that what was made in one rush is not all made anew in another
KEPT_ANSWERS = 4  # of each user, to different questions


class Shown(msgspec.Struct, frozen=True):
    """What an answer says, but for its slate."""

    items: list[Recommended]
    versions: dict[str, str]
    fallback: str | None


class _Made(msgspec.Struct, frozen=True):
    """Something shown, the question, until when it is good, and from what it was made: `epoch` stands for the models, the
    catalogue and the stored reasons, which are not to be kept in memory by answers."""

    ask: Ask
    epoch: object
    until_s: float
    shown: Shown


class Answers:
    """Finds and keeps answers. Thread-safe."""

    def __init__(self) -> None:
        self._last: tuple[tuple[object, ...], object] = ((), object())

    def kept(self, query: Query) -> Shown | None:
        """What was shown to this user for the same question, if it would be the same now."""
        if not query.past.answers:
            return None
        epoch, now_s = self._epoch(query), time.monotonic()
        for made in query.past.answers:
            if made.epoch is epoch and now_s < made.until_s and made.ask == query.ask:
                found: Shown = made.shown
                return found
        return None

    def keep(self, query: Query, shown: Shown) -> None:
        """Keep what is shown, unless chance has a part in it, or the question holds what is never asked twice."""
        ask = query.ask
        if ask.user is None or ask.exploration or ask.events or not query.past.known:
            return
        until_s = time.monotonic() + KEPT_S * (1 - SPREAD * random.random())  # noqa: S311 -- nobody gains by guessing it
        made = _Made(ask, self._epoch(query), until_s, shown)
        others = [one for one in query.past.answers if one.ask != ask]
        query.past.answers[:] = [made, *others][:KEPT_ANSWERS]

    def _epoch(self, query: Query) -> object:
        """The same object as long as the models, the catalogue and what of it may be shown stay the same."""
        parts = (query.models, query.view, query.shelf, query.said, query.servable)
        last, epoch = self._last
        if len(last) != len(parts) or not all(map(is_, last, parts)):
            epoch = object()
            self._last = (parts, epoch)
        return epoch
