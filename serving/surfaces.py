"""Surfaces: what a list is like where nothing is said of it. A request's own word counts before its surface's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from core.errors import ConfigurationError, InvalidRequest
from serving.expression import parse
from serving.query import Ask, Boost, Pin
from serving.wishes import Wishes


class Surfaces:
    """The surfaces that settings describe; others have the defaults of `Ask`. Raises ConfigurationError for a mistake in one."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._surfaces: dict[str, dict[str, Any]] = {}
        for name, table in tables.items():
            try:
                self._surfaces[name] = _said(msgspec.convert(table, Wishes))
            except (msgspec.ValidationError, InvalidRequest) as error:
                raise ConfigurationError(f"HEADWATER_SURFACES, surface {name!r}: {error}") from error

    def ask(self, surface: str, wishes: Wishes, **about: Any) -> Ask:
        """What is asked for: `wishes`, where they say nothing what the surface says, and `about`, the other fields of Ask.

        Raises InvalidRequest for a filter that cannot be read and for pins that contradict each other.
        """
        return Ask(surface=surface, **(self._surfaces.get(surface, {}) | _said(wishes) | about))


def _said(wishes: Wishes) -> dict[str, Any]:
    """Those that were said, as fields of Ask."""
    said: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(wishes, name)
        if value is not None:
            said[name] = value
    if wishes.seen_kinds is not None:
        said["seen_kinds"] = frozenset(wishes.seen_kinds)
    if wishes.hide is not None:
        said["hide"] = tuple(wishes.hide)
    if wishes.filter is not None:
        said["filter"] = parse(wishes.filter)
    if wishes.boosts is not None:
        said["boosts"] = tuple(Boost(parse(one.filter), one.factor) for one in wishes.boosts)
    if wishes.pins is not None:
        said["pins"] = _pins(wishes)
    return said


_PLAIN = ("limit", "category", "exclude_seen", "diversity", "exploration", "explain", "locale")


def _pins(wishes: Wishes) -> tuple[Pin, ...]:
    found = tuple(Pin(one.item, one.position) for one in wishes.pins or ())
    if len({one.item for one in found}) < len(found) or len({one.position for one in found}) < len(found):
        raise InvalidRequest("pins: every item and every position may come once")
    return found
