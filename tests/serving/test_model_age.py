"""How old served models are, as whoever watches sees it: on /metrics."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import httpx

from core.store.versions import ModelVersion
from tests.serving.world import World, eventually


def age_s(client: httpx.Client, model: str) -> float | None:
    """What /metrics says of a model's age; None where it says nothing."""
    found = re.search(rf'^headwater_model_age_seconds{{model="{model}"}} (\S+)$', client.get("/metrics").text, re.M)
    return float(found[1]) if found else None


def publish(world: World, name: str, trained_until: datetime) -> ModelVersion:
    """The files of the live version as another one, trained until then."""
    before = world.registry.live()[name]
    version = world.registry.publish(
        name, next(world.folder.glob(f"{name}-*")), trained_until=trained_until, snapshot="test", config=before.config,
        metrics=before.metrics,
    )  # fmt: skip
    world.registry.promote(name, version.version, "by hand")
    return version


def test_the_age_of_a_served_model_is_that_of_the_newest_event_it_has_seen(full_world: World) -> None:
    publish(full_world, "transitions", datetime.now(UTC) - timedelta(hours=50))
    with full_world.served() as client:
        first = age_s(client, "transitions")
        assert first is not None
        assert 50 * 3600 <= first < 51 * 3600
        eventually(lambda: (age_s(client, "transitions") or 0) > first)  # it grows on while the model stays
        assert age_s(client, "als") is None  # nobody said until when it was trained
        publish(full_world, "transitions", datetime.now(UTC) - timedelta(hours=1))
        eventually(lambda: 3600 <= (age_s(client, "transitions") or 0) < 2 * 3600, within_s=20)
