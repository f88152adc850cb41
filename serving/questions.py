"""Questions that were read and checked once: a query string asks for the same whoever sends it.

Reading one costs the framework more than all else that an answer from memory takes.
"""

from __future__ import annotations

import msgspec
from litestar.types import Scope

from serving.query import Ask
from serving.shapes import Id

KEPT_QUESTIONS = 1_000
LONGEST_BYTES = 2_000  # with what is kept of each, a few megabytes together


def question(scope: Scope) -> bytes:
    """All of a request that the framework reads besides its path and its key: its query string and its host, if any."""
    for name, value in scope["headers"]:
        if name == b"host":
            return b"%s\n%s" % (value, scope["query_string"])
    return b"\n" + scope["query_string"]


class _Named(msgspec.Struct):
    """A user's id, to be checked: msgspec finds the rules of a class sooner than those of an annotation, which it hashes."""

    id: Id


class Questions:
    """What questions ask for, as the route that checked them made it out. Used from the event loop alone."""

    def __init__(self) -> None:
        self._asks: dict[bytes, Ask] = {}

    def learn(self, question: bytes, ask: Ask) -> None:
        """Keep what it asks for, whoever the user."""
        if len(question) <= LONGEST_BYTES:
            self._asks[question] = ask
            if len(self._asks) > KEPT_QUESTIONS:
                del self._asks[next(iter(self._asks))]

    def known(self, question: bytes, user: str) -> Ask | None:
        """What it asks for this user; None where it is to be read, or the user's id refused."""
        ask = self._asks.get(question)
        if ask is None:
            return None
        try:
            msgspec.convert({"id": user}, _Named)
        except msgspec.ValidationError:
            return None
        return ask if ask.user == user else msgspec.structs.replace(ask, user=user)
