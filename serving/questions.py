"""Questions that were read and checked once: a query string asks for the same whoever sends it.

Reading one costs the framework more than all else that an answer from memory takes.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from serving.query import Ask
from serving.shapes import Id

KEPT_QUESTIONS = 1_000
LONGEST_BYTES = 2_000  # with what is kept of each, a few megabytes together


class Questions:
    """What query strings ask for, as the route that checked them made it out. Used from the event loop alone."""

    def __init__(self) -> None:
        self._asks: dict[bytes, Ask] = {}

    def learn(self, query_string: bytes, ask: Ask) -> None:
        """Keep what a query string asks for, whoever the user."""
        if len(query_string) <= LONGEST_BYTES:
            self._asks[query_string] = ask
            if len(self._asks) > KEPT_QUESTIONS:
                del self._asks[next(iter(self._asks))]

    def known(self, query_string: bytes, user: str) -> Ask | None:
        """What it asks for this user; None where it is to be read, or the user's id refused."""
        ask = self._asks.get(query_string)
        if ask is None:
            return None
        try:
            msgspec.convert(user, Id)
        except msgspec.ValidationError:
            return None
        return ask if ask.user == user else replace(ask, user=user)
