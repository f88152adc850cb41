"""Fixtures of the serving tests; what they are made of is in world.py."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.serving.world import World, full_world, world

__all__ = ["full_world", "world"]


@pytest.fixture
def client(full_world: World) -> Iterator[httpx.Client]:
    """A client of a server on the full world."""
    with full_world.served() as served:
        yield served
