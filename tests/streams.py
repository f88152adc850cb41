"""Events for tests: made, and written to the store as the consumer would."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from core.events import Body, Event, Interaction, type_of
from core.store import Store
from core.store.events import Advance, Appended, Coordinates, DeadLetter, Received

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, body: Body, *, minutes: float | None = None, source: str = "/test") -> Event:
    """Event `number` of a source, dated that many minutes after EPOCH unless told otherwise."""
    return Event(
        str(number), source, type_of(body), EPOCH + timedelta(minutes=number if minutes is None else minutes), body
    )


def view(number: int, user: str, item: str, kind: str = "view", value: float | None = None) -> Event:
    """Event `number`: the user did something with the item."""
    return event(number, Interaction(user=user, item=item, kind=kind, value=value))


class Writer:
    """Writes events to partition 0 of a topic, at the next free offsets."""

    def __init__(self, store: Store, topic: str = "test.events") -> None:
        self._store = store
        self.claim = store.events.claim(topic, "topic-id", 0)
        self._offset = self.claim.next_offset

    def write(self, events: Sequence[Event], dead: Sequence[DeadLetter] = ()) -> Appended:
        """One batch, one transaction."""
        batch = [
            Received(one, Coordinates(self.claim.topic, self.claim.topic_id, 0, self._offset + place), 100)
            for place, one in enumerate(events)
        ]
        self._offset += len(batch) + len(dead)
        return self._store.events.append(batch, dead, [Advance(self.claim, self._offset)])


def habits(users: int, items: int, length: int, first: int = 0) -> list[Event]:
    """Users who walk the catalogue in circles: after item n comes item n+1, from a start of their own."""
    return [
        view(first + user * length + step, f"u{user}", f"i{(user * 3 + step) % items}")
        for user in range(users)
        for step in range(length)
    ]
