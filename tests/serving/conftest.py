"""Fixtures of the serving tests; what they are made of is in world.py."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from serving.service import Service
from tests.serving.world import World, eventually, full_world, ingesting, world

__all__ = ["full_world", "world"]


@pytest.fixture
def client(full_world: World) -> Iterator[httpx.Client]:
    """A client of a server on the full world."""
    with full_world.served() as served:
        yield served


@pytest.fixture
def service(full_world: World) -> Iterator[Service]:
    """The parts of a server on the full world, read once and not kept fresh."""
    service = Service(full_world.settings, full_world.store, full_world.registry)
    service.models.refresh()
    service.catalogue.refresh()
    service.catalogue.refresh_counts()
    yield service
    service.stop()


@pytest.fixture
def stream(full_world: World) -> Iterator[httpx.Client]:
    """A client of a whole system: server, broker, consumer, Postgres. Returned once events flow through."""
    with ingesting(full_world), full_world.served() as client:
        client.post(
            "/v1/events", json={"type": "interaction.view", "data": {"user": "first", "item": "i0"}}
        ).raise_for_status()
        eventually(lambda: client.get("/v1/users/first").status_code == 200, within_s=30)
        yield client
